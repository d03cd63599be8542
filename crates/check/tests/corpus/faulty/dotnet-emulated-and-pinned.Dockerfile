FROM mcr.microsoft.com/dotnet/sdk:8.0 AS build
WORKDIR /src
COPY . .
RUN dotnet publish -c Release -r linux-x64 --self-contained -o /app
FROM --platform=linux/amd64 mcr.microsoft.com/dotnet/runtime-deps:8.0
COPY --from=build /app /app
ENTRYPOINT ["/app/service"]
