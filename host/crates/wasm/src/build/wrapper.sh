#!/bin/sh
# Runs the compiler for Cargo. Of a crate that lies beside the workspace, such as the SDK, Cargo hashes
# the absolute path into what tells crates apart, and so into the order of a component's functions: two
# checkouts would give two components. Here such a crate is told apart by its name and version. Paths of
# the project, which panic messages hold, are taken out here as well: as a flag of Cargo's they would make
# it build the standard library for each project.
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
exec "$@" "--remap-path-prefix=$PLUGIN_CHECKOUT=/checkout" "--remap-path-prefix=$PLUGIN_WORKSPACE=/workspace"
