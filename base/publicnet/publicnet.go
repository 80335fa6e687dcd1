// Package publicnet keeps connections that a customer's URL causes out of the
// operator's network.
//
// A customer may choose the address of an OpenID Connect issuer or of an
// external key store's proxy, and a server of the operator's then connects to
// it. Control is a net.Dialer's: it looks at the address at the moment of the
// connection, after the name was resolved, so that a name which resolves to
// another address the second time gains nothing. Hosts is the operator's list
// of the names that are excepted.
//
// Not done here: redirects and proxies of the environment, which the HTTP
// client must not follow.
package publicnet

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// ErrPrivate is the refusal of an address that is not of the public internet.
var ErrPrivate = errors.New("publicnet: not an address of the public internet")

// Control refuses a connection to an address that is not of the public internet.
func Control(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !IsPublic(a.Addr()) {
		return ErrPrivate
	}
	return nil
}

// Hosts are hosts, or host:port, in lower case, that may have any address.
type Hosts map[string]bool

// NewHosts checks and keeps a list of hosts.
func NewHosts(list []string) (Hosts, error) {
	h := make(Hosts, len(list))
	for _, host := range list {
		if host == "" || strings.ContainsAny(host, "/@*") {
			return nil, errors.New("publicnet: exceptions are hosts, or host:port")
		}
		h[strings.ToLower(host)] = true
	}
	return h, nil
}

// Has says whether a host, with or without its port, is listed.
func (h Hosts) Has(hostport string) bool {
	hostport = strings.ToLower(hostport)
	if h[hostport] {
		return true
	}
	host, _, err := net.SplitHostPort(hostport)
	return err == nil && h[strings.Trim(host, "[]")]
}

// IsPublic says whether an address is one of the public internet. What is
// carried inside of another address counts as that which it carries.
func IsPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false // loopback, link-local, multicast, unspecified; RFC 1918 and RFC 4193
	}
	if a.Is6() && !netip.MustParsePrefix("2000::/3").Contains(a) {
		return false // nothing else is allocated
	}
	for _, p := range special() {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// special are the networks of the IANA's registries that are not of the public
// internet, or that lead to addresses which may not be.
func special() []netip.Prefix {
	var nets []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	} {
		nets = append(nets, netip.MustParsePrefix(s))
	}
	return nets
}
