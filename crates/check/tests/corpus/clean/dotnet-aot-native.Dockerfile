FROM mcr.microsoft.com/dotnet/sdk:8.0 AS build
RUN apt-get update && apt-get install -y --no-install-recommends clang zlib1g-dev
WORKDIR /source
COPY . .
RUN dotnet publish -c Release -p:PublishAot=true -o /app
FROM mcr.microsoft.com/dotnet/runtime-deps:8.0
COPY --from=build /app /app
ENTRYPOINT ["/app/api"]
