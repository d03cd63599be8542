FROM debian:bookworm-slim
ARG TARGETARCH
ARG KUBECTL_VERSION=v1.31.2
ADD --chmod=755 https://dl.k8s.io/release/${KUBECTL_VERSION}/bin/linux/${TARGETARCH}/kubectl /usr/local/bin/kubectl
RUN kubectl version --client
