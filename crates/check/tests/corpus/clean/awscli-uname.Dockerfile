FROM amazonlinux:2023
RUN dnf install -y unzip less groff && \
    curl -sSfo awscliv2.zip "https://awscli.amazonaws.com/awscli-exe-linux-$(uname -m).zip" && \
    unzip -q awscliv2.zip && ./aws/install && rm -rf aws awscliv2.zip
ENTRYPOINT ["aws"]
