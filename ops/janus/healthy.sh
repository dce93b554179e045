# Whether Janus answers at its admin API, and as start.sh configured it. `info` asks for no secret, and
# the image has no curl.
exec 3<> "/dev/tcp/127.0.0.1/${JANUS_ADMIN_PORT:-7088}" || exit 1
printf 'GET /admin/info HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
exec grep -q '"server-name":"hospital".*"janus.plugin.videoroom"' <&3
