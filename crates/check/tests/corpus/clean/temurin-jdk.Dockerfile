FROM ubuntu:24.04
ENV JAVA_HOME='/opt/java/openjdk' LANG='en_US.UTF-8' LC_ALL='en_US.UTF-8'
ENV PATH=$JAVA_HOME/bin:$PATH
RUN set -eux; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends curl ca-certificates fontconfig locales; \
    rm -rf /var/lib/apt/lists/*
ENV JAVA_VERSION=jdk-21.0.5+11
RUN set -eux; \
    ARCH="$(dpkg --print-architecture)"; \
    case "${ARCH}" in \
       amd64) \
         BINARY_URL='https://github.com/adoptium/temurin21-binaries/releases/download/jdk-21.0.5%2B11/OpenJDK21U-jdk_x64_linux_hotspot_21.0.5_11.tar.gz'; \
         ;; \
       arm64) \
         BINARY_URL='https://github.com/adoptium/temurin21-binaries/releases/download/jdk-21.0.5%2B11/OpenJDK21U-jdk_aarch64_linux_hotspot_21.0.5_11.tar.gz'; \
         ;; \
       *) echo "Unsupported arch: ${ARCH}"; exit 1 ;; \
    esac; \
    curl -LfsSo /tmp/openjdk.tar.gz "${BINARY_URL}"; \
    mkdir -p "$JAVA_HOME"; \
    tar --extract --file /tmp/openjdk.tar.gz --directory "$JAVA_HOME" --strip-components 1; \
    rm /tmp/openjdk.tar.gz
CMD ["jshell"]
