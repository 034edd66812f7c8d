# check=skip=ReservedStageName
#
# Two images with one executable each: `docker build .` on distroless, `docker build --target scratch .`
# on nothing but the libraries that the executable loads. Nothing is emulated: the build stages run on
# the machine that builds, and compile for the platform that is asked for.

ARG DENO_VERSION=2.9.6

FROM gcr.io/distroless/cc-debian12:nonroot AS runtime
USER 65532:65532

FROM --platform=$BUILDPLATFORM docker.io/denoland/deno:${DENO_VERSION} AS build
ARG TARGETARCH
WORKDIR /src
# What is fetched comes first, so that a change in the sources fetches nothing.
COPY deno.json ./
COPY offline/ offline/
COPY build/ build/
RUN deno task imports && deno task -q compile --target ${TARGETARCH} --fetch
COPY main.ts ./
COPY src/ src/
RUN deno task -q compile --target ${TARGETARCH} --output /out/ambassador

FROM build AS libraries
COPY --from=runtime / /runtime/
RUN deno run -q --allow-read --allow-write build/libraries.ts /out/ambassador /runtime /out/root

FROM scratch AS scratch
COPY --from=libraries /out/root/ /
COPY --from=build /out/ambassador /ambassador
USER 65532:65532
# Loopback: for the health check alone. Give another address to let others see it.
ENV AMBASSADOR_STATUS=127.0.0.1:9797
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/ambassador", "healthcheck"]
ENTRYPOINT ["/ambassador"]
ARG VERSION=
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="ambassador" \
      org.opencontainers.image.description="Forwards the ports that a container's link variables name" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

FROM runtime AS distroless
COPY --from=build /out/ambassador /ambassador
ENV AMBASSADOR_STATUS=127.0.0.1:9797
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/ambassador", "healthcheck"]
ENTRYPOINT ["/ambassador"]
ARG VERSION=
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="ambassador" \
      org.opencontainers.image.description="Forwards the ports that a container's link variables name" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
