package hsm

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// Guard names the hardware that guards the HSM's seal: at most one kind.
type Guard struct {
	// TPM is the device of a TPM 2.0, as /dev/tpmrm0, or unix:PATH for the
	// socket of one in software.
	TPM string

	// PKCS11Module is the library of a PKCS#11 token, which is named by its
	// label, as its key is; the PIN is what a file holds. The library runs in a
	// process of its own, until the HSM is ready.
	PKCS11Module, PKCS11Token, PKCS11Key, PKCS11PINFile string

	// Upgrade accepts a domain that was sealed in software alone, once.
	Upgrade bool
}

// TokenCommand is the argument with which the binary serves a PKCS#11 token.
const TokenCommand = "hsm-p11"

func (g *Guard) kind() string {
	switch {
	case g.TPM != "":
		return message.GuardTPM
	case g.PKCS11Module != "":
		return message.GuardPKCS11
	}
	return ""
}

// A guardian is a started guard.
type guardian struct {
	conn *os.File // for the HSM; nil: no guard
	cmd  *exec.Cmd
}

// start opens the guard's connection.
func (g *Guard) start(binary string, log func(string)) (*guardian, error) {
	switch {
	case g.TPM != "" && g.PKCS11Module != "":
		return nil, errors.New("hsm: a seal is guarded by a TPM or by a PKCS#11 token, not by both")
	case g.Upgrade && g.kind() == "":
		return nil, errors.New("hsm: there is no guard to upgrade the seal to")
	case g.TPM != "":
		conn, err := openTPM(g.TPM)
		if err != nil {
			return nil, fmt.Errorf("hsm: TPM: %w", err)
		}
		return &guardian{conn: conn}, nil
	case g.PKCS11Module != "":
		if g.PKCS11Token == "" || g.PKCS11PINFile == "" {
			return nil, errors.New("hsm: a PKCS#11 module needs the label of a token and a file with its PIN")
		}
		return g.startToken(binary, log)
	}
	return &guardian{}, nil
}

func openTPM(device string) (*os.File, error) {
	path, isSocket := strings.CutPrefix(device, "unix:")
	if !isSocket {
		return os.OpenFile(device, os.O_RDWR, 0)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return conn.File() // a copy; ours ends with this process at the latest
}

// startToken starts the process of the module. It inherits the environment:
// modules are told there where their configuration is.
func (g *Guard) startToken(binary string, log func(string)) (*guardian, error) {
	if binary == "" {
		var err error
		if binary, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("hsm: %w", err)
		}
	}
	pin, err := os.Open(g.PKCS11PINFile)
	if err != nil {
		return nil, fmt.Errorf("hsm: PIN: %w", err)
	}
	defer pin.Close()
	ours, theirs, err := boundary.SocketPair()
	if err != nil {
		return nil, fmt.Errorf("hsm: %w", err)
	}
	defer theirs.Close()
	key := g.PKCS11Key
	if key == "" {
		key = "leadglass"
	}
	cmd := exec.Command(binary, TokenCommand, g.PKCS11Module, g.PKCS11Token, key)
	cmd.ExtraFiles = []*os.File{theirs, pin}
	diesWithParent(cmd)
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("hsm: %w", errors.Join(err, ours.Close()))
	}
	go func() { // ends with the process
		for s := bufio.NewScanner(stderr); s.Scan(); {
			if log != nil {
				log(s.Text())
			}
		}
	}()
	return &guardian{conn: ours, cmd: cmd}, nil
}

// end ends the token's process. The TPM goes on.
func (g *guardian) end() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill()
		_ = g.cmd.Wait()
	}
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
