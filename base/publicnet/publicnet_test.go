package publicnet_test

import (
	"net/netip"
	"testing"

	"github.com/leadglass/leadglass/base/publicnet"
)

func TestOnlyAddressesOfThePublicInternetArePublic(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"fe80::1": false, "fd00::1": false, "::ffff:10.0.0.1": false, "100.64.0.1": false, "0.0.0.0": false, "64:ff9b::7f00:1": false,
		"2002:7f00:1::": false, "224.0.0.1": false, "255.255.255.255": false,
	} {
		if got := publicnet.IsPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
		if err := publicnet.Control("tcp", netip.AddrPortFrom(netip.MustParseAddr(address), 443).String(), nil); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestAListedHostIsExceptedWithAnyPortAndAListedPortAlone(t *testing.T) {
	h, err := publicnet.NewHosts([]string{"Keys.Hospital.example", "other.example:8443"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"keys.hospital.example": true, "keys.hospital.example:443": true, "other.example:8443": true,
		"other.example": false, "other.example:443": false, "hospital.example": false,
	} {
		if h.Has(host) != want {
			t.Errorf("%s: %v", host, !want)
		}
	}
	for _, bad := range []string{"", "https://a", "*.a", "u@a"} {
		if _, err := publicnet.NewHosts([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
