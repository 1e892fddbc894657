// PROXY 203.0.113.99:80 is gone
function FindProxyForURL(url, host) {
    if (dnsDomainIs(host, ".example.com")) return "DIRECT";
    if (url.substring(0, 6) === "https:") return "HTTPS 203.0.113.1:443; DIRECT";
    return 'PROXY 203.0.113.2:8080; SOCKS5 gate.example:1080; SOCKS4 203.0.113.4:0';
}
