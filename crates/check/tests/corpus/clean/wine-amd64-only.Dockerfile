FROM --platform=linux/amd64 debian:bookworm AS wine-amd64
RUN dpkg --add-architecture i386 && apt-get update && apt-get install -y wine wine32:i386 wine64
RUN wget -O /tmp/winetricks https://example.com/tools/winetricks-x64
CMD ["wine", "--version"]
