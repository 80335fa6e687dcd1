package log

// SegmentFile is the seam where tests put failing files.
type SegmentFile = segmentFile

// OpenSegment opens a real one.
var OpenSegment = openSegment

// WithDisk makes the log open its segments through f.
func WithDisk(cfg Config, f func(path string, size int64) (SegmentFile, error)) Config {
	cfg.disk = f
	return cfg
}

// ParseWAL parses a record and gives its length, for fuzzing.
func ParseWAL(b []byte) (length, events int, err error) {
	r, err := parseWAL(b)
	if err != nil {
		return 0, 0, err
	}
	return r.length, len(r.entries), nil
}
