package daemon

import (
	"fmt"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/xks"
)

// openProxies makes what reaches the proxies of customers' external key
// stores.
func (d *Daemon) openProxies() (*xks.Dialer, error) {
	roots, err := readCertificates(d.cfg.XKSCA)
	if err != nil {
		return nil, err
	}
	return xks.NewDialer(xks.DialerConfig{
		Clock: clock.System, Roots: roots, PrivateProxies: d.cfg.PrivateXKSProxies, Timeout: d.cfg.XKSTimeout,
	})
}

// maxXKSTimeout is what an operation may wait for a proxy: two of them, of
// ReEncrypt, stay within the gate's deadline.
const maxXKSTimeout = 5 * time.Second

func (c *Config) validProxies() error {
	if c.XKSTimeout < 0 || c.XKSTimeout > maxXKSTimeout {
		return fmt.Errorf("an external key store proxy may take at most %v, not %v", maxXKSTimeout, c.XKSTimeout)
	}
	_, err := readCertificates(c.XKSCA)
	return err
}
