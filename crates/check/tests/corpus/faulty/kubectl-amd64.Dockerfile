FROM alpine:3.20
RUN apk add --no-cache curl bash
RUN curl -fsSLO "https://dl.k8s.io/release/v1.31.2/bin/linux/amd64/kubectl" && \
    install -m 0755 kubectl /usr/local/bin/kubectl
RUN curl -fsSL https://get.helm.sh/helm-v3.16.2-linux-amd64.tar.gz | tar xz && mv linux-amd64/helm /usr/local/bin/
ENTRYPOINT ["bash"]
