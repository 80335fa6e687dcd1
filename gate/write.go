package gate

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

// proofHeader asks, with the value 1, for a proof of the answer by whoever made
// it, and carries it, base64 (kms-recipient-attestation, "signed answers").
const proofHeader = "X-Leadglass-Answer-Proof"

// proof is the header's value; empty without one.
func (x *exchange) proof() string {
	if x.fault != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(x.call.Proof())
}

// write is stage 11: encode and send.
func (x *exchange) write() {
	var resp wire.Response
	if x.fault == nil {
		var err error
		resp, err = wire.EncodeOutput(x.op.Info, x.protocol, x.call.RequestID, x.out, x.answer[:0])
		if err != nil {
			x.gate.Logger.Error("cannot encode", "request", x.call.RequestID, "operation", x.name(), "error", err)
			x.fault = x.commonFault(wire.Internal, "")
		}
	}
	if x.fault != nil {
		resp = wire.EncodeError(x.service, x.protocol, x.call.RequestID, x.fault, x.answer[:0])
	}
	x.answer = resp.Body // wiped and used again once it is sent
	if revealed := x.call.TakeRevealed(); len(revealed) > 0 {
		if x.fault == nil {
			x.writeRevealed(resp, revealed)
			return
		}
		for _, r := range revealed {
			r.Secret.Destroy()
		}
	}
	h := x.w.Header()
	for k, v := range resp.Header {
		h[k] = v
	}
	h["X-Amzn-Requestid"] = []string{x.call.RequestID}
	if resp.ContentType != "" {
		h["Content-Type"] = []string{resp.ContentType}
	}
	if x.receipt != "" {
		h["X-Leadglass-Audit-Receipt"] = []string{x.receipt}
	}
	if p := x.proof(); p != "" {
		h[proofHeader] = []string{p}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(resp.Body))}
	x.w.WriteHeader(resp.Status)
	x.w.Write(resp.Body) // an error here means that the client is gone; the record stands
}

// writeRevealed sends an answer that holds secrets. It takes the connection
// over, so that the only buffer that ever holds them is its own, and wipes it
// (I-3); net/http would leave a copy in its pooled write buffers. Afterwards
// the connection goes back to the server, if the client wants to keep it and
// nothing of a next request was read yet.
//
// HTTP/2 connections cannot be taken over; the server is therefore started
// without HTTP/2.
func (x *exchange) writeRevealed(resp wire.Response, revealed []operation.Revealed) {
	defer func() {
		for _, r := range revealed {
			r.Secret.Destroy()
		}
	}()
	conn, read, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.gate.Logger.Error("cannot take the connection over", "request", x.call.RequestID, "error", err)
		x.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	kept := false
	defer func() {
		if !kept {
			conn.Close()
		}
	}()
	connection := "" // HTTP/1.1 keeps it unless told otherwise
	if x.gate.Resume == nil || x.r.Close || !x.r.ProtoAtLeast(1, 1) || read.Reader.Buffered() > 0 {
		connection = "close"
	}
	var b bytes.Buffer
	b.Grow(2<<10 + len(resp.Body)) // never grows again: an outgrown buffer would stay unwiped
	b.WriteString("HTTP/1.1 " + strconv.Itoa(resp.Status) + " " + http.StatusText(resp.Status) + "\r\n")
	for _, line := range [][2]string{
		{"Content-Type", resp.ContentType},
		{"Content-Length", strconv.Itoa(len(resp.Body))},
		{"Date", time.Now().UTC().Format(http.TimeFormat)},
		{"X-Amzn-Requestid", x.call.RequestID},
		{"X-Leadglass-Audit-Receipt", x.receipt},
		{proofHeader, x.proof()},
		{"Cache-Control", "no-store"},
		{"Connection", connection},
	} {
		if line[1] != "" {
			b.WriteString(line[0] + ": " + line[1] + "\r\n")
		}
	}
	b.WriteString("\r\n")
	b.Write(resp.Body)
	out := b.Bytes()
	defer secret.Wipe(out)
	for _, r := range revealed {
		i := bytes.Index(out, []byte(r.Placeholder))
		if i < 0 {
			continue // the handler made a secret that its output does not show
		}
		if r.Secret.Use(func(s []byte) error { copy(out[i:], s); return nil }) != nil {
			return
		}
	}
	if conn.SetWriteDeadline(time.Now().Add(Deadline)) != nil {
		return
	}
	if _, err := conn.Write(out); err != nil || connection == "close" {
		return
	}
	kept = conn.SetDeadline(time.Time{}) == nil && x.gate.Resume(conn)
}
