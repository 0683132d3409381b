# Each recipe is a check; `just` lists them. Nothing here needs just: the commands are plain.

# Lists the recipes.
default:
    @just --list

# Everything that a pull request has to pass.
ci:
    .ci/run

# All tests.
test:
    cargo test

# The tests of one layer, such as `just layer worker`.
layer name:
    cargo test --test {{ name }}

# The glossary, the layers, circles of imports, comments, citations, headers, commit subjects, licences.
house:
    cargo test --test house

# Formats the code.
format:
    cargo fmt

# Whether the code is formatted.
format-check:
    cargo fmt --check

# Clippy, in both feature sets.
lint:
    cargo clippy --all-targets -- -D warnings
    cargo clippy --all-targets --all-features -- -D warnings

# The documentation, without a warning.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features

# Compares the public API with api/public.txt.
api:
    api/check

# Writes the public API to api/public.txt.
api-update:
    api/check --update

# Misspelt words.
spelling:
    .ci/spelling

# Licences, sources and bans by deny.toml, and security advisories.
deny:
    .ci/deny

# The oldest versions of the direct dependencies.
minimal-versions:
    .ci/minimal-versions

# The API against that of the last release.
semver:
    .ci/semver

# The other Unixes and the oldest Rust.
other-systems:
    .ci/other-systems

# The fuzz targets compile.
fuzz-targets:
    .ci/fuzz-targets

# Servers and libraries that others wrote (needs npm and pip).
interop:
    tests/interop/install target/interop
    PROCESSION_INTEROP=$PWD/target/interop PROCESSION_INTEROP_REQUIRED=1 cargo test --test interop

# What supervision, processes and calls cost.
bench name="supervision":
    cargo bench --bench {{ name }}
