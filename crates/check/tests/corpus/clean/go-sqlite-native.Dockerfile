FROM golang:1.23 AS build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev libsqlite3-dev
COPY . .
RUN CGO_ENABLED=1 go build -tags "sqlite_fts5" -o /app .
FROM debian:bookworm-slim
COPY --from=build /app /app
ENTRYPOINT ["/app"]
