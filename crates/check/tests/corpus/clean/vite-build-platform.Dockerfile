FROM --platform=$BUILDPLATFORM node:22 AS pages
WORKDIR /app
COPY package*.json ./
RUN npm ci
COPY . .
RUN npm run build
FROM nginx:alpine
COPY --from=pages /app/dist /usr/share/nginx/html
COPY nginx.conf /etc/nginx/conf.d/default.conf
