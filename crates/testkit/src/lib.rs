//! Test support: a real registry, base images from Debian packages.
