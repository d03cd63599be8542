FROM debian:bookworm-slim
RUN dpkg --add-architecture i386 \
 && apt-get update \
 && apt-get install -y --no-install-recommends lib32gcc-s1 lib32stdc++6 libc6:i386 ca-certificates curl
WORKDIR /home/steam
RUN curl -fsSL https://steamcdn-a.akamaihd.net/client/installer/steamcmd_linux.tar.gz | tar xz
CMD ["./steamcmd.sh"]
