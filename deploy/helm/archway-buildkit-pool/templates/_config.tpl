{{/* buildkitd.toml of a group. Takes (dict "root" $ "own" OVERRIDES). */}}
{{- define "group.config" -}}
{{- $values := .root.Values -}}
{{- $size := dig "cache" "size" $values.cache.size .own -}}
{{- $volume := mul (regexFind "^[0-9]+" $size | int64) (hasSuffix "Ti" $size | ternary 1048576 1024) -}}
{{- $tenth := div $volume 10 -}}
{{- $most := div (mul $volume 8) 10 -}}
root = "/home/user/.local/share/buildkit/daemon"

[log]
format = "json"

[grpc]
address = ["unix:///run/user/1000/buildkit/buildkitd.sock", "tcp://:1234"]
{{- if $values.metrics.enabled }}
debugAddress = "tcp://:6060"
{{- end }}

[grpc.tls]
ca = "/etc/buildkit-tls/ca.pem"
cert = "/etc/buildkit-tls/cert.pem"
key = "/etc/buildkit-tls/key.pem"

[worker.containerd]
enabled = false

[worker.oci]
enabled = true
rootless = true
noProcessSandbox = true
max-parallelism = {{ dig "maxParallelism" $values.maxParallelism .own | int }}
gc = true

[[worker.oci.gcpolicy]]
filters = ["type==source.local", "type==source.git.checkout"]
keepDuration = "48h"
maxUsedSpace = "{{ $tenth }}MB"

[[worker.oci.gcpolicy]]
reservedSpace = "{{ $tenth }}MB"
maxUsedSpace = "{{ $most }}MB"
minFreeSpace = "{{ $tenth }}MB"

[[worker.oci.gcpolicy]]
all = true
reservedSpace = "{{ $tenth }}MB"
maxUsedSpace = "{{ $most }}MB"
minFreeSpace = "{{ $tenth }}MB"
{{ range $registry, $mirrors := $values.mirrors }}
[registry.{{ $registry | quote }}]
mirrors = [{{ range $index, $mirror := $mirrors }}{{ if $index }}, {{ end }}{{ $mirror | quote }}{{ end }}]
{{ end }}
{{- with $values.extraConfig | trim }}
{{ . }}
{{ end }}
{{- end }}
