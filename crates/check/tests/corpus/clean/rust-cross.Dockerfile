FROM --platform=$BUILDPLATFORM rust:1.82 AS build
RUN apt-get update && apt-get install -y gcc-aarch64-linux-gnu gcc-x86-64-linux-gnu
RUN rustup target add aarch64-unknown-linux-gnu x86_64-unknown-linux-gnu
WORKDIR /src
COPY . .
ARG TARGETARCH
RUN case "$TARGETARCH" in \
      amd64) target=x86_64-unknown-linux-gnu ;; \
      arm64) target=aarch64-unknown-linux-gnu ;; \
    esac && cargo build --release --target "$target" && cp "target/$target/release/app" /app
FROM debian:bookworm-slim
COPY --from=build /app /usr/local/bin/app
CMD ["app"]
