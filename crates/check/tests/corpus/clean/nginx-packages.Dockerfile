FROM debian:bookworm-slim
LABEL maintainer="NGINX Maintainers"
ENV NGINX_VERSION=1.27.2
ENV PKG_RELEASE=1~bookworm
RUN set -x \
    && groupadd --system --gid 101 nginx \
    && apt-get update \
    && apt-get install --no-install-recommends --no-install-suggests -y gnupg1 ca-certificates \
    && dpkgArch="$(dpkg --print-architecture)" \
    && nginxPackages="nginx=${NGINX_VERSION}-${PKG_RELEASE}" \
    && case "$dpkgArch" in \
        amd64|arm64) \
            echo "deb [signed-by=/etc/apt/keyrings/nginx.gpg] https://nginx.org/packages/mainline/debian/ bookworm nginx" >> /etc/apt/sources.list.d/nginx.list \
            && apt-get update \
            ;; \
        *) \
            tempDir="$(mktemp -d)" \
            && curl -f -L -O https://github.com/nginx/pkg-oss/archive/${NGINX_VERSION}-1.tar.gz \
            ;; \
    esac \
    && apt-get install --no-install-recommends --no-install-suggests -y $nginxPackages gettext-base curl
COPY docker-entrypoint.sh /
ENTRYPOINT ["/docker-entrypoint.sh"]
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
