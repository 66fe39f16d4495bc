# The router's image by docker build, for those who build all of theirs so. Nobody needs it: `weave launch` makes the
# image out of its own program, and `weave image --tar` writes it to a file (scripts/image does all of it).
#
#   cargo build --release -p weave
#   cd target/*/release
#   tar -c weave -C ~+/../../.. Dockerfile |
#       docker build --build-arg PROGRAM=$(sha256sum weave | cut -c 1-64) --tag weave:0.1.0 -
#
# With the program's digest as its label, weave launch takes it for its own. Run by hand, it wants what launch gives it:
#
#   docker run --network host --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW --device /dev/net/tun --read-only \
#       --security-opt no-new-privileges --volume /var/lib/weave:/var/lib/weave --volume /run/weave:/run/weave weave:0.1.0
FROM scratch
ARG PROGRAM=unknown
LABEL weave.program=$PROGRAM
COPY weave /weave
ENTRYPOINT ["/weave", "router"]
