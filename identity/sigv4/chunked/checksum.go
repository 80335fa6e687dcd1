package chunked

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"strings"
	"sync"
)

const checksumPrefix = "x-amz-checksum-"

// A checksum is one that S3 knows as a trailer.
type checksum struct {
	trailer string
	shown   string // in S3's message
	make    func() hash.Hash
}

// nvme is the polynomial of CRC-64/NVME, bits reversed as hash/crc64 has them.
var nvme = sync.OnceValue(func() *crc64.Table { return crc64.MakeTable(0x9a6c9329ac4bc9b5) })

func checksumOf(trailer string) *checksum {
	c := &checksum{trailer: trailer}
	switch strings.TrimPrefix(trailer, checksumPrefix) {
	case "crc32":
		c.shown, c.make = "CRC32", func() hash.Hash { return crc32.NewIEEE() }
	case "crc32c":
		c.shown, c.make = "CRC32C", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }
	case "crc64nvme":
		c.shown, c.make = "CRC64NVME", func() hash.Hash { return crc64.New(nvme()) }
	case "sha1":
		c.shown, c.make = "SHA1", sha1.New
	case "sha256":
		c.shown, c.make = "SHA256", sha256.New
	default:
		return nil
	}
	return c
}

// check compares the content's checksum with the trailer's value.
func (c *checksum) check(sum []byte, value string) error {
	if got, err := base64.StdEncoding.Strict().DecodeString(value); err != nil || len(got) != len(sum) {
		return refuse("InvalidRequest", 400, "Value for "+c.trailer+" trailing header is invalid.")
	} else if string(got) != string(sum) {
		return refuse("BadDigest", 400, "The "+c.shown+" you specified did not match the calculated checksum.")
	}
	return nil
}
