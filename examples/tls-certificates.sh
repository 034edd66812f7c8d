# Makes a CA, and each host's certificate and key, in this folder: `bash tls-certificates.sh`
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
  -subj "/CN=ambassadors" -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem
for host in big-server consumer; do
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -subj "/CN=$host" -keyout $host.key -out $host.csr
  openssl x509 -req -in $host.csr -CA ca.pem -CAkey ca.key -days 365 -out $host.pem -extfile <(
    printf '%s\n' subjectAltName=DNS:$host extendedKeyUsage=serverAuth,clientAuth)
done
