# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM tonistiigi/xx:1.5.0 AS xx
FROM --platform=$BUILDPLATFORM golang:1.23-alpine AS build
COPY --from=xx / /
RUN apk add --no-cache clang lld
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
ARG TARGETPLATFORM
RUN xx-apk add --no-cache musl-dev gcc sqlite-dev
COPY . .
ENV CGO_ENABLED=1
RUN xx-go build -o /out/app . && xx-verify /out/app
FROM alpine:3.20
RUN apk add --no-cache sqlite-libs
COPY --from=build /out/app /usr/bin/app
ENTRYPOINT ["/usr/bin/app"]
