package log

import "context"

// A Log is the audit log of one deployment. Use Open.
type Log struct{}

// Open opens or makes the log in cfg.Dir.
func Open(ctx context.Context, cfg Config) (*Log, error) { return nil, ErrStopped }

// Close stops taking events, waits until all are integrated and closes the files.
func (l *Log) Close() error { return nil }

// Failed is closed when the log has stopped for good; Err then says why.
func (l *Log) Failed() <-chan struct{} { return nil }

// Err is why the log stopped, or nil.
func (l *Log) Err() error { return nil }

// CreateAccount makes an account's log: salt, audit key and first key record.
func (l *Log) CreateAccount(ctx context.Context, account string) error { return ErrStopped }

// HasAccount says whether the account has a log.
func (l *Log) HasAccount(account string) bool { return false }

// Append records one event and returns once it is durable.
func (l *Log) Append(ctx context.Context, e Event) (Receipt, error) { return Receipt{}, ErrStopped }

// AppendAll records several events, such as both copies of a cross-account call,
// and returns once all are durable.
func (l *Log) AppendAll(ctx context.Context, events []Event) ([]Receipt, error) {
	return nil, ErrStopped
}

// Lookup finds events of one account, newest first.
func (l *Log) Lookup(ctx context.Context, account string, q Query) (Page, error) {
	return Page{}, ErrStopped
}

// Configuration is what an account's principals may know of their log.
func (l *Log) Configuration(account string) (Configuration, error) {
	return Configuration{}, ErrNoAccount
}

// Flush integrates every event appended before the call and makes an epoch of them.
func (l *Log) Flush(ctx context.Context) error { return ErrStopped }

// Export prepares everything that an account needs to check its log offline.
func (l *Log) Export(ctx context.Context, account string) (*Export, error) { return nil, ErrStopped }

// ReadExport reads up to len(p) bytes of a file of an export at offset off.
func (l *Log) ReadExport(ctx context.Context, account, export, name string, off int64, p []byte) (int, error) {
	return 0, ErrNoFile
}

// AccountKey is the account key file as JSON, data keys opened: see record.AccountKey.
func (l *Log) AccountKey(ctx context.Context, account string) ([]byte, error) {
	return nil, ErrStopped
}
