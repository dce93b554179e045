#!/bin/sh
# Writes Janus' configuration from the environment and becomes Janus. docs/video.md tells what each
# part is for; runtime/embedded_janus.py is the same for one machine.
set -eu
umask 077

# `given NAME`: its value, or the end. `given NAME VALUE`: this one where it is not set. Nothing comes
# through that would end the quotes it is put between below.
given() {
    eval "value=\${$1:-}"
    [ -n "$value" ] || [ $# -gt 1 ] || { echo "janus: $1 is not set" >&2; exit 64; }
    [ -n "$value" ] || value=$2
    case $value in
    *[!A-Za-z0-9._~:,/+=-]*)
        echo "janus: $1 has other characters than letters, digits and ._~:,/+=-" >&2
        exit 64
        ;;
    esac
    printf '%s' "$value"
}

admin_secret=$(given HOSPITAL_JANUS_ADMIN_SECRET)
admin_key=$(given HOSPITAL_JANUS_ADMIN_KEY)
public_ip=$(given JANUS_PUBLIC_IP)
rtp_ports=$(given JANUS_RTP_PORTS)
listen=$(given JANUS_LISTEN 0.0.0.0)
admin_port=$(given JANUS_ADMIN_PORT 7088)
ws_port=$(given JANUS_WS_PORT 8188)
interfaces=$(given JANUS_INTERFACES "")
stun=$(given JANUS_STUN_SERVER "")
turn=$(given JANUS_TURN_SERVER "")
turn_type=$(given JANUS_TURN_TYPE udp)
turn_user=$(given JANUS_TURN_USER "")
turn_password=$(given JANUS_TURN_PASSWORD "")

port_of() { # HOST:PORT; 3478 where there is none
    case $1 in *:*) printf '%s' "${1##*:}" ;; *) printf 3478 ;; esac
}

nat="  nat_1_1_mapping = \"$public_ip\""
[ -z "$interfaces" ] || nat="$nat
  ice_enforce_list = \"$interfaces\""
[ -z "$stun" ] || nat="$nat
  stun_server = \"${stun%:*}\"
  stun_port = $(port_of "$stun")"
[ -z "$turn" ] || nat="$nat
  turn_server = \"${turn%:*}\"
  turn_port = $(port_of "$turn")
  turn_type = \"$turn_type\"
  turn_user = \"$turn_user\"
  turn_pwd = \"$turn_password\""

directory=${JANUS_CONFIG_DIR:-/tmp/janus}
mkdir -p "$directory"

# The name is what healthy.sh looks for: a file that it cannot read Janus replaces by its defaults, with
# every plugin and without a secret.
cat > "$directory/janus.jcfg" <<END
general: {
  server_name = "hospital"
  admin_secret = "$admin_secret"
  debug_level = 2
  debug_colors = false
}
media: { rtp_port_range = "$rtp_ports" }
nat: {
$nat
}
plugins: { disable = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_voicemail.so" }
transports: { disable = "libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so" }
loggers: { disable = "libjanus_jsonlog.so" }
END

cat > "$directory/janus.plugin.videoroom.jcfg" <<END
general: { admin_key = "$admin_key" }
END

# Clients speak WebSockets; the admin API is the house's; plain HTTP is nobody's.
cat > "$directory/janus.transport.http.jcfg" <<END
general: { http = false  https = false  json = "compact" }
admin: {
  admin_http = true
  admin_https = false
  admin_ip = "$listen"
  admin_port = $admin_port
  admin_base_path = "/admin"
}
END

cat > "$directory/janus.transport.websockets.jcfg" <<END
general: {
  ws = true
  wss = false
  ws_ip = "$listen"
  ws_port = $ws_port
  json = "compact"
}
admin: { admin_ws = false  admin_wss = false }
END

# What it was told is in those files; its own environment need not show it to whoever looks in.
unset HOSPITAL_JANUS_ADMIN_SECRET HOSPITAL_JANUS_ADMIN_KEY JANUS_TURN_PASSWORD
exec janus -F "$directory"
