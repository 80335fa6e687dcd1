package log

// A savedExport is one export that is being read.
type savedExport struct{}
