package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// measured is the result of one operation under load.
type measured struct {
	Operation   string  `json:"operation"`
	Connections int     `json:"connections"`
	Requests    int     `json:"requests"`
	Errors      int     `json:"errors"`
	PerSecond   float64 `json:"perSecond"`
	P50         float64 `json:"p50Milliseconds"`
	P99         float64 `json:"p99Milliseconds"`
	Max         float64 `json:"maxMilliseconds"`
	PlaneCPU    float64 `json:"planeCPUMicroseconds,omitempty"` // of all processes of the plane, for one request
	ClientCPU   float64 `json:"clientCPUMicroseconds"`          // of the callers, for one request
}

func benchCommand() *cobra.Command {
	var out output
	var profileName string
	var ambient bool
	var connections int
	var duration, warmUp time.Duration
	var only []string
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure whole requests: client, HTTP, signature, policy, boundary and audit log",
		Long: `Measure whole requests over keep-alive HTTP, everything on: SigV4, policy,
grants, the isolated HSM and authority, and the durable audit log. The client
runs in this process and signs every request, so its cost is part of the figure.

Without --ambient a plane of its own is started in a temporary folder. The file
system under it decides what a durable write costs: TMPDIR chooses it.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			var p profile
			b := &bench{}
			var result struct {
				StartMilliseconds float64    `json:"startMilliseconds,omitempty"` // from exec to the first answer, on an existing data folder
				IdleRSS           float64    `json:"idleRSSMiB,omitempty"`        // of all processes, shared pages counted in each
				IdlePSS           float64    `json:"idlePSSMiB,omitempty"`        // of all processes, shared pages counted once
				Operations        []measured `json:"operations"`
			}
			if ambient {
				var err error
				if p, err = ambientProfile(profileName); err != nil {
					return err
				}
			} else {
				dir, err := os.MkdirTemp("", "leadglass-bench-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(dir)
				plane, err := startPlane(ctx, dir)
				if err != nil {
					return err
				}
				plane.stop()
				began := time.Now()
				if plane, err = startPlane(ctx, dir); err != nil {
					return err
				}
				defer plane.stop()
				b.pids = append(children(plane.pid()), plane.pid())
				credentials, config := clientFiles(dir)
				if p, err = readProfile("customer", credentials, config); err != nil {
					return err
				}
				if _, err := newClient(p).query(ctx, "sts", "2011-06-15", "GetCallerIdentity", nil, nil); err != nil {
					return err
				}
				result.StartMilliseconds = float64(time.Since(began).Microseconds()) / 1000
				time.Sleep(2 * time.Second) // what the start needed is given back
				result.IdleRSS, result.IdlePSS = plane.memory()
			}
			b.client, b.connections, b.duration, b.warmUp = newClient(p), connections, duration, warmUp
			var err error
			if result.Operations, err = b.run(ctx, only); err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), result, func(w io.Writer) {
				if !ambient {
					fmt.Fprintf(w, "start on an existing data folder to the first answer: %.0f ms\nidle memory of all processes: %.0f MiB RSS, %.0f MiB PSS\n\n",
						result.StartMilliseconds, result.IdleRSS, result.IdlePSS)
				}
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
				fmt.Fprintln(t, "operation\tconnections\trequests\terrors\tper second\tp50 ms\tp99 ms\tmax ms\tplane CPU µs\tclient CPU µs\t")
				for _, r := range result.Operations {
					fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.0f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t\n", r.Operation, r.Connections, r.Requests, r.Errors, r.PerSecond, r.P50, r.P99, r.Max, r.PlaneCPU, r.ClientCPU)
				}
				t.Flush()
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&ambient, "ambient", false, "measure the plane of the ambient endpoint and credentials; creates a key there")
	f.StringVar(&profileName, "profile", "", "with --ambient: profile to sign with")
	f.IntVar(&connections, "connections", 16, "concurrent callers, a connection each")
	f.DurationVar(&duration, "duration", 5*time.Second, "time for each operation")
	f.DurationVar(&warmUp, "warm-up", time.Second, "time before each measurement that does not count")
	f.StringSliceVar(&only, "operation", nil, "operations to measure (default: all)")
	out.flag(c)
	return c
}

type bench struct {
	*client
	connections      int
	duration, warmUp time.Duration
	pids             []int // of the plane, when it is ours
}

// cpu is what the plane's processes and this one have used so far. The
// kernel's tables have it in hundredths of a second.
func (b *bench) cpu() (plane, client time.Duration) {
	for _, pid := range b.pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, ticks := range f[11:13] { // utime, stime
			n, _ := strconv.Atoi(ticks)
			plane += time.Duration(n) * 10 * time.Millisecond
		}
	}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		client = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return plane, client
}

// loadEach gives every caller a goroutine of its own.
func loadEach(ctx context.Context, callers []*caller, start, end time.Time) {
	var wg sync.WaitGroup
	for _, c := range callers {
		wg.Go(func() { c.run(ctx, start, end) })
	}
	wg.Wait()
}

// work is one operation: request makes the body of one call.
type work struct {
	name    string
	service string
	header  map[string]string
	body    []byte
}

func (b *bench) run(ctx context.Context, only []string) ([]measured, error) {
	var key struct{ KeyMetadata struct{ Arn string } }
	if _, err := b.json(ctx, "kms", "CreateKey", map[string]any{"Description": "leadglass bench"}, &key); err != nil {
		return nil, err
	}
	arn := key.KeyMetadata.Arn
	var sealed struct{ CiphertextBlob []byte }
	plain := make([]byte, 32)
	encryptionContext := map[string]string{"purpose": "bench"}
	if _, err := b.json(ctx, "kms", "Encrypt", map[string]any{"KeyId": arn, "Plaintext": plain, "EncryptionContext": encryptionContext}, &sealed); err != nil {
		return nil, err
	}
	defer b.json(context.WithoutCancel(ctx), "kms", "ScheduleKeyDeletion", map[string]any{"KeyId": arn, "PendingWindowInDays": 7}, nil)
	role, drop, err := b.role(ctx)
	if err != nil {
		return nil, err
	}
	defer drop()
	all := []work{
		formWork("GetCallerIdentity", "sts", "2011-06-15", nil),
		formWork("AssumeRole", "sts", "2011-06-15", url.Values{"RoleArn": {role}, "RoleSessionName": {"bench"}}),
		jsonWork("Encrypt", map[string]any{"KeyId": arn, "Plaintext": plain, "EncryptionContext": encryptionContext}),
		jsonWork("Decrypt", map[string]any{"CiphertextBlob": sealed.CiphertextBlob, "EncryptionContext": encryptionContext}),
		jsonWork("GenerateDataKey", map[string]any{"KeyId": arn, "KeySpec": "AES_256", "EncryptionContext": encryptionContext}),
	}
	var results []measured
	for _, w := range all {
		if len(only) > 0 && !slices.Contains(only, w.name) {
			continue
		}
		r, err := b.measure(ctx, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		return nil, usageError{errors.New("--operation names none of GetCallerIdentity, AssumeRole, Encrypt, Decrypt, GenerateDataKey")}
	}
	return results, nil
}

// role makes a role that the caller's account may assume.
func (b *bench) role(ctx context.Context) (arn string, drop func(), err error) {
	var made struct {
		ARN string `xml:"CreateRoleResult>Role>Arn"`
	}
	name := "leadglass-bench-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	_, err = b.query(ctx, "iam", "2010-05-08", "CreateRole", url.Values{"RoleName": {name}, "AssumeRolePolicyDocument": {
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"aws:PrincipalAccount":"${aws:ResourceAccount}"}}}}`,
	}}, &made)
	if err != nil {
		return "", nil, err
	}
	return made.ARN, func() {
		b.query(context.WithoutCancel(ctx), "iam", "2010-05-08", "DeleteRole", url.Values{"RoleName": {name}}, nil)
	}, nil
}

// measure keeps every connection busy with one operation.
func (b *bench) measure(ctx context.Context, w work) (measured, error) {
	callers := make([]*caller, b.connections)
	for i := range callers {
		c, err := newCaller(b.profile, w)
		if err != nil {
			return measured{}, err
		}
		defer c.close()
		callers[i] = c
	}
	start := time.Now().Add(b.warmUp)
	end := start.Add(b.duration)
	// The warm-up costs as much as what is measured, so both count here.
	plane, client := b.cpu()
	if err := load(ctx, callers, start, end); err != nil {
		return measured{}, err
	}
	if err := ctx.Err(); err != nil {
		return measured{}, err
	}
	planeAfter, clientAfter := b.cpu()
	r := measured{Operation: w.name, Connections: b.connections}
	var times []time.Duration
	all := 0
	for _, c := range callers {
		times = append(times, c.times...)
		r.Errors += c.errors
		all += c.calls
		if c.first != nil {
			return r, c.first
		}
	}
	if all > 0 {
		r.PlaneCPU = float64((planeAfter - plane).Microseconds()) / float64(all)
		r.ClientCPU = float64((clientAfter - client).Microseconds()) / float64(all)
	}
	if len(times) == 0 {
		return r, errors.New("no call was answered")
	}
	slices.Sort(times)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	r.Requests, r.PerSecond = len(times), float64(len(times))/b.duration.Seconds()
	r.P50, r.P99, r.Max = ms(times[len(times)/2]), ms(times[len(times)*99/100]), ms(times[len(times)-1])
	return r, nil
}
