#!/bin/sh
# Runs the compiler for Cargo. Of a crate that lies beside the workspace, such as the SDK, Cargo hashes
# the absolute path into what tells crates apart, and so into the order of a component's functions: two
# checkouts would give two components. Here such a crate is told apart by its name and version.
case "${CARGO_MANIFEST_DIR-}" in
'' | "${PLUGIN_FOREIGN_CARGO-}"/* | "${PLUGIN_FOREIGN_RUST-}"/*) exec "$@" ;;
esac
for argument; do
    shift
    case "$argument" in
    metadata=*) argument="metadata=$CARGO_PKG_NAME-$CARGO_PKG_VERSION-${CARGO_CRATE_NAME-}" ;;
    esac
    set -- "$@" "$argument"
done
exec "$@"
