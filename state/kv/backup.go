package kv

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"time"
)

// The backup stream, docs/formats/kv.md: a header, the entries in key order,
// an end mark and the SHA-256 of everything before it. It is not sealed:
// whoever writes it to a medium encrypts it on the way.
//
//	"LGKV1\n" | u64 rev | u64 created, Unix ms
//	( u32 klen > 0 | u32 vlen | key | value | u64 mod | u64 expire, Unix ms, 0: never )*
//	u32 0 | SHA-256 (32)
const backupMagic = "LGKV1\n"

// A BackupWriter writes a backup stream. Entries must come in key order.
type BackupWriter struct {
	w    *bufio.Writer
	sum  hash.Hash
	last []byte
	err  error
}

// NewBackupWriter writes the header.
func NewBackupWriter(w io.Writer, rev Rev, created time.Time) *BackupWriter {
	b := &BackupWriter{sum: sha256.New()}
	b.w = bufio.NewWriterSize(io.MultiWriter(w, b.sum), 64<<10)
	head := binary.BigEndian.AppendUint64([]byte(backupMagic), uint64(rev))
	b.write(binary.BigEndian.AppendUint64(head, uint64(created.UnixMilli())))
	return b
}

func (b *BackupWriter) write(p []byte) {
	if b.err == nil {
		_, b.err = b.w.Write(p)
	}
}

// Add writes one entry.
func (b *BackupWriter) Add(e Entry, expire time.Time) error {
	if b.err == nil && bytes.Compare(e.Key, b.last) <= 0 {
		b.err = fmt.Errorf("kv: backup: %w: entries out of order", ErrCorrupt)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(e.Key)))
	b.write(binary.BigEndian.AppendUint32(head, uint32(len(e.Value))))
	b.write(e.Key)
	b.write(e.Value)
	tail := binary.BigEndian.AppendUint64(nil, uint64(e.Mod))
	b.write(binary.BigEndian.AppendUint64(tail, uint64(ExpireMilli(expire))))
	b.last = append(b.last[:0], e.Key...)
	return b.err
}

// Close ends the stream; without it a reader refuses the backup.
func (b *BackupWriter) Close() error {
	b.write([]byte{0, 0, 0, 0})
	if b.err == nil {
		b.err = b.w.Flush()
	}
	if b.err == nil {
		// The digest covers what the flush passed on, not itself.
		b.write(b.sum.Sum(nil))
	}
	if b.err == nil {
		b.err = b.w.Flush()
	}
	return b.err
}

// ReadBackup reads a backup stream and calls add for every entry. What add
// was given counts only if ReadBackup returns nil: the digest is at the end.
func ReadBackup(r io.Reader, add func(e Entry, expire time.Time) error) (rev Rev, created time.Time, err error) {
	b := bufio.NewReaderSize(r, 64<<10)
	sum := sha256.New()
	read := func(p []byte) error {
		if _, err := io.ReadFull(b, p); err != nil {
			return fmt.Errorf("kv: backup: %w: truncated", ErrCorrupt)
		}
		sum.Write(p)
		return nil
	}
	head := make([]byte, len(backupMagic)+16)
	if err := read(head); err != nil {
		return 0, created, err
	}
	if string(head[:len(backupMagic)]) != backupMagic {
		return 0, created, fmt.Errorf("kv: backup: %w: not a backup of this format", ErrCorrupt)
	}
	rev = Rev(binary.BigEndian.Uint64(head[len(backupMagic):]))
	created = time.UnixMilli(int64(binary.BigEndian.Uint64(head[len(backupMagic)+8:]))).UTC()
	var last []byte
	for {
		var lengths [4]byte
		if err := read(lengths[:]); err != nil {
			return 0, created, err
		}
		klen := binary.BigEndian.Uint32(lengths[:])
		if klen == 0 {
			break
		}
		if err := read(lengths[:]); err != nil {
			return 0, created, err
		}
		vlen := binary.BigEndian.Uint32(lengths[:])
		if klen > MaxKey || vlen > MaxValue {
			return 0, created, fmt.Errorf("kv: backup: %w: entry beyond the limits", ErrCorrupt)
		}
		body := make([]byte, klen+vlen+16)
		if err := read(body); err != nil {
			return 0, created, err
		}
		e := Entry{Key: body[:klen:klen], Value: body[klen : klen+vlen : klen+vlen], Mod: Rev(binary.BigEndian.Uint64(body[klen+vlen:]))}
		if e.Mod == 0 || e.Mod > rev || bytes.Compare(e.Key, last) <= 0 {
			return 0, created, fmt.Errorf("kv: backup: %w: entry out of order", ErrCorrupt)
		}
		last = e.Key
		if err := add(e, ExpireTime(int64(binary.BigEndian.Uint64(body[klen+vlen+8:])))); err != nil {
			return 0, created, err
		}
	}
	want := sum.Sum(nil)
	got := make([]byte, sha256.Size)
	if err := read(got); err != nil {
		return 0, created, err
	}
	if !bytes.Equal(got, want) {
		return 0, created, fmt.Errorf("kv: backup: %w: digest differs", ErrCorrupt)
	}
	if _, err := b.ReadByte(); err != io.EOF {
		return 0, created, fmt.Errorf("kv: backup: %w: bytes after the end", ErrCorrupt)
	}
	return rev, created, nil
}

// ExpireMilli is how engines store an expiry: Unix milliseconds, rounded up,
// 0 for never.
func ExpireMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, t.Add(time.Millisecond-1).UnixMilli())
}

// ExpireTime is the inverse of ExpireMilli.
func ExpireTime(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
