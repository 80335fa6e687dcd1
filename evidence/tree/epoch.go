package tree

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// RootLeafSize is the length of every entry of the root log.
const RootLeafSize = 104

// A RootLeaf is one epoch (audit-log section 7): the root of the map of all
// account logs at one time, chained to the epoch before.
type RootLeaf struct {
	Epoch       uint64 // from 1
	Time        uint64 // ms since 1970
	Map         Hash
	Previous    Hash // leaf hash of the epoch before; zero for the first
	Measurement [20]byte
}

// Append writes the 104 bytes.
func (l *RootLeaf) Append(dst []byte) []byte {
	dst = append(dst, "LGR1"...)
	dst = binary.BigEndian.AppendUint64(dst, l.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, l.Time)
	dst = append(dst, l.Map[:]...)
	dst = append(dst, l.Previous[:]...)
	return append(dst, l.Measurement[:]...)
}

// ParseRootLeaf reads a root leaf.
func ParseRootLeaf(b []byte) (RootLeaf, error) {
	if len(b) != RootLeafSize || string(b[:4]) != "LGR1" {
		return RootLeaf{}, fmt.Errorf("%w: no root leaf", ErrMalformed)
	}
	return RootLeaf{
		Epoch:       binary.BigEndian.Uint64(b[4:]),
		Time:        binary.BigEndian.Uint64(b[12:]),
		Map:         Hash(b[20:]),
		Previous:    Hash(b[52:]),
		Measurement: [20]byte(b[84:]),
	}, nil
}

func base64Std(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func parseBase64(s string) ([]byte, error) { return base64.StdEncoding.Strict().DecodeString(s) }
