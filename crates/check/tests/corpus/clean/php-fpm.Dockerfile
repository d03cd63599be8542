FROM composer:2 AS vendor
WORKDIR /app
COPY composer.json composer.lock ./
RUN composer install --no-dev --no-scripts --prefer-dist
FROM php:8.3-fpm-alpine
RUN apk add --no-cache libpng-dev libzip-dev && docker-php-ext-install gd zip pdo_mysql
COPY --from=mlocati/php-extension-installer:2 /usr/bin/install-php-extensions /usr/local/bin/
WORKDIR /var/www/html
COPY . .
COPY --from=vendor /app/vendor ./vendor
CMD ["php-fpm"]
