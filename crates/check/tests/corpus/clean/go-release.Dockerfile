FROM buildpack-deps:bookworm-scm AS build
ENV PATH=/usr/local/go/bin:$PATH
ENV GOLANG_VERSION=1.23.3
RUN set -eux; \
	arch="$(dpkg --print-architecture)"; arch="${arch##*-}"; \
	url=; \
	case "$arch" in \
		'amd64') url='https://dl.google.com/go/go1.23.3.linux-amd64.tar.gz' ;; \
		'arm64') url='https://dl.google.com/go/go1.23.3.linux-arm64.tar.gz' ;; \
		'armhf') url='https://dl.google.com/go/go1.23.3.linux-armv6l.tar.gz' ;; \
		*) echo >&2 "error: unsupported architecture '$arch'"; exit 1 ;; \
	esac; \
	wget -O go.tgz "$url" --progress=dot:giga; \
	tar -C /usr/local -xzf go.tgz; \
	rm go.tgz; \
	go version
FROM buildpack-deps:bookworm-scm
ENV GOPATH=/go
ENV PATH=$GOPATH/bin:/usr/local/go/bin:$PATH
COPY --from=build /usr/local/go/ /usr/local/go/
RUN mkdir -p "$GOPATH/src" "$GOPATH/bin" && chmod -R 1777 "$GOPATH"
WORKDIR $GOPATH
