// nginx and haproxy: their configurations, as a user who wants speed would write them.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'

/** Where a program is; undefined if nowhere. */
export function find(program) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path))
}

function write(name, text) {
  const folder = resolve('target/bench', name)
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'config')
  writeFileSync(file, text)
  return { folder, file }
}

export function nginx({ origin, port, tls, h2 }) {
  const flags = tls === undefined ? '' : h2 ? ' ssl http2' : ' ssl'
  const certificate = `
    ssl_certificate ${tls?.cert};
    ssl_certificate_key ${tls?.key};
    ssl_protocols TLSv1.2 TLSv1.3;`
  const { folder, file } = write(
    'nginx',
    `daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events { worker_connections 16000; }
http {
  access_log off;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  # No file of the disk is between client and origin.
  proxy_max_temp_file_size 0;
  proxy_request_buffering off;
  upstream origin {
    server ${origin};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
  }
  server {
    listen 127.0.0.1:${port}${flags} backlog=4096;${tls === undefined ? '' : certificate}
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
    }
  }
}
`,
  )
  return [find('nginx'), '-p', folder, '-c', file, '-e', 'stderr']
}

export function haproxy(mode, { origin, port, tls, h2 }) {
  let bind = `bind 127.0.0.1:${port} backlog 4096`
  if (tls !== undefined) {
    const { file } = write('haproxy-certificate', readFileSync(tls.cert) + readFileSync(tls.key))
    bind += ` ssl crt ${file} alpn ${h2 ? 'h2,' : ''}http/1.1`
  }
  const { file } = write(
    `haproxy-${mode}`,
    `global
  nbthread 1
  maxconn 12000
  # It reserves two descriptors for each connection, and would rather not start than have fewer.
  no strict-limits
defaults
  mode ${mode}
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  ${mode === 'http' ? 'http-reuse always' : ''}
frontend clients
  ${bind}
  default_backend origins
backend origins
  server origin ${origin}
`,
  )
  return [find('haproxy'), '-db', '-q', '-f', file]
}
