# escape=`
FROM mcr.microsoft.com/windows/servercore:ltsc2022
SHELL ["powershell", "-Command", "$ErrorActionPreference = 'Stop';"]
RUN Invoke-WebRequest -Uri https://nodejs.org/dist/v22.11.0/node-v22.11.0-win-x64.zip -OutFile C:\node.zip; `
    Expand-Archive C:\node.zip -DestinationPath C:\
WORKDIR C:\app
CMD node server.js
