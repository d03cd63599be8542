FROM --platform=$BUILDPLATFORM node:22 AS build
WORKDIR /app
COPY . .
RUN npm ci && npm run build
FROM --platform=$BUILDPLATFORM nginx:alpine
COPY --from=build /app/dist /usr/share/nginx/html
