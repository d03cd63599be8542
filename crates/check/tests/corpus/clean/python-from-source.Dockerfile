FROM buildpack-deps:bookworm

ENV PATH=/usr/local/bin:$PATH
ENV LANG=C.UTF-8
ENV PYTHON_VERSION=3.12.7
ENV PYTHON_SHA256=24887b92e2afd4a2ac602419ad4b596372f67ac9b077190f459aba390faf5550

RUN set -eux; \
	wget -O python.tar.xz "https://www.python.org/ftp/python/${PYTHON_VERSION%%[a-z]*}/Python-$PYTHON_VERSION.tar.xz"; \
	echo "$PYTHON_SHA256 *python.tar.xz" | sha256sum -c -; \
	mkdir -p /usr/src/python; \
	tar --extract --directory /usr/src/python --strip-components=1 --file python.tar.xz; \
	rm python.tar.xz; \
	cd /usr/src/python; \
	gnuArch="$(dpkg-architecture --query DEB_BUILD_GNU_TYPE)"; \
	./configure --build="$gnuArch" --enable-loadable-sqlite-extensions --enable-shared; \
	nproc="$(nproc)"; \
	case "$(dpkg --print-architecture)" in \
		amd64) EXTRA="-march=x86-64" ;; \
		arm64) EXTRA="-mbranch-protection=standard" ;; \
		*) EXTRA="" ;; \
	esac; \
	make -j "$nproc" "EXTRA_CFLAGS=${EXTRA:-}"; \
	make install; \
	ldconfig
CMD ["python3"]
