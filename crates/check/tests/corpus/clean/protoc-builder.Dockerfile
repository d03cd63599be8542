FROM --platform=$BUILDPLATFORM golang:1.23 AS gen
ARG PROTOC_VERSION=28.3
RUN apt-get update && apt-get install -y unzip && \
    case "$(uname -m)" in x86_64) a=x86_64 ;; aarch64) a=aarch_64 ;; esac && \
    curl -fsSLo /tmp/protoc.zip https://github.com/protocolbuffers/protobuf/releases/download/v${PROTOC_VERSION}/protoc-${PROTOC_VERSION}-linux-$a.zip && \
    unzip /tmp/protoc.zip -d /usr/local
COPY . .
RUN make generate
FROM scratch
COPY --from=gen /go/gen /
