package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// recordsContext is bound to the data key: it opens for nothing else.
var recordsContext = map[string]string{"hospital": "A", "dataset": "heart disease"}

const operatorPromise = "1: an operator cannot obtain a customer's plaintext or key"

func (t *tour) openAccounts(ctx context.Context) (err error) {
	if t.operator, err = operatorClient(t.plane.data, "operator"); err != nil {
		return err
	}
	open := func(name string) (*client, string, newAccount, error) {
		created, err := createAccount(ctx, t.operator, name)
		if err != nil {
			return nil, "", created, fmt.Errorf("opening the account of %s: %w", name, err)
		}
		r, err := redeem(ctx, t.plane.url, t.operator.Region, created.EnrolmentCode)
		if err != nil {
			return nil, "", created, fmt.Errorf("redeeming the code of %s: %w", name, err)
		}
		c := newClient(profile{Name: name, Region: t.operator.Region, Endpoint: t.plane.url, AccessKeyID: r.AccessKeyId, SecretAccessKey: r.SecretAccessKey})
		return c, r.AccountId, created, nil
	}
	var codeA newAccount
	if t.a, t.accountA, codeA, err = open("Hospital A"); err != nil {
		return err
	}
	if t.b, t.accountB, _, err = open("Hospital B"); err != nil {
		return err
	}
	_, again := redeem(ctx, t.plane.url, t.operator.Region, codeA.EnrolmentCode)
	_, foreign := t.operator.json(ctx, "leadglass", "GetHealth", struct{}{}, nil)
	t.add(claim{
		Promise:  operatorPromise,
		Claim:    "The operator opens accounts without ever seeing their credentials",
		By:       "operator, then hospital A and hospital B",
		Tried:    "create two accounts; each hospital redeems its one-time code; somebody redeems A's code once more",
		Happened: fmt.Sprintf("accounts %s and %s are open; the second redemption: %s", t.accountA, t.accountB, codeOf(again)),
		Evidence: "CreateAccount returns a code and no secret; the redemption is the first event of the hospital's own log",
		Holds:    codeOf(again) == "InvalidEnrolmentCodeException" && foreign == nil,
	})
	return nil
}

func (t *tour) protectRecords(ctx context.Context) error {
	var key struct{ KeyMetadata struct{ Arn, KeyId string } }
	if _, err := t.a.json(ctx, "kms", "CreateKey", map[string]any{"Description": "patient records"}, &key); err != nil {
		return err
	}
	t.keyARN = key.KeyMetadata.Arn
	if _, err := t.a.json(ctx, "kms", "CreateAlias", map[string]any{"AliasName": "alias/records", "TargetKeyId": t.keyARN}, nil); err != nil {
		return err
	}
	var dataKey struct{ Plaintext, CiphertextBlob []byte }
	if _, err := t.a.json(ctx, "kms", "GenerateDataKey", map[string]any{"KeyId": "alias/records", "KeySpec": "AES_256", "EncryptionContext": recordsContext}, &dataKey); err != nil {
		return err
	}
	t.wrapped = dataKey.CiphertextBlob
	sealed, err := sealRecords(dataKey.Plaintext)
	secret.Wipe(dataKey.Plaintext)
	if err != nil {
		return err
	}
	t.sealed = sealed

	opened, id, err := t.open(ctx, t.a)
	if err != nil {
		return fmt.Errorf("hospital A cannot open its own records: %w", err)
	}
	sum := sha256.Sum256(opened)
	t.add(claim{
		Promise:  "7: existing tools and practices work unchanged",
		Claim:    "Hospital A protects its records by envelope encryption and reads them back",
		By:       "hospital A",
		Tried:    fmt.Sprintf("kms:GenerateDataKey under %s; AES-256-GCM over %d heart-disease records; throw the data key away; kms:Decrypt; open", short(t.keyARN), bytes.Count(records, []byte("\n"))-1),
		Happened: fmt.Sprintf("%d bytes came back, the same to the byte", len(opened)),
		Evidence: fmt.Sprintf("SHA-256 %s…; request %s", hex.EncodeToString(sum[:8]), id),
		Holds:    bytes.Equal(opened, records),
	})
	return nil
}

// sealRecords encrypts the records under a fresh data key. The nonce may be
// zero: the key is used for this one message (SP 800-38D section 8.2.1).
func sealRecords(key []byte) ([]byte, error) {
	aead, err := recordsAEAD(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, make([]byte, aead.NonceSize()), records, []byte("heart4.csv")), nil
}

func recordsAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// decrypt asks for the data key as c.
func (t *tour) decrypt(ctx context.Context, c *client, blob []byte, encryptionContext map[string]string) ([]byte, string, error) {
	var out struct{ Plaintext []byte }
	id, err := c.json(ctx, "kms", "Decrypt", map[string]any{"CiphertextBlob": blob, "EncryptionContext": encryptionContext}, &out)
	return out.Plaintext, id, err
}

// open opens the records as c.
func (t *tour) open(ctx context.Context, c *client) ([]byte, string, error) {
	key, id, err := t.decrypt(ctx, c, t.wrapped, recordsContext)
	if err != nil {
		return nil, id, err
	}
	defer secret.Wipe(key)
	aead, err := recordsAEAD(key)
	if err != nil {
		return nil, id, err
	}
	opened, err := aead.Open(nil, make([]byte, aead.NonceSize()), t.sealed, []byte("heart4.csv"))
	return opened, id, err
}

func (t *tour) refuseOthers(ctx context.Context) error {
	_, id, err := t.decrypt(ctx, t.b, t.wrapped, recordsContext)
	missing := t.keyARN[:len(t.keyARN)-12] + "000000000000"
	_, there := t.b.json(ctx, "kms", "DescribeKey", map[string]any{"KeyId": t.keyARN}, nil)
	_, notThere := t.b.json(ctx, "kms", "DescribeKey", map[string]any{"KeyId": missing}, nil)
	alike := codeOf(there) == codeOf(notThere) && strings.ReplaceAll(fmt.Sprint(there), t.keyARN, "K") == strings.ReplaceAll(fmt.Sprint(notThere), missing, "K")
	t.add(claim{
		Promise:  operatorPromise,
		Claim:    "Another hospital can neither open A's records nor find out what A has",
		By:       "hospital B, its administrator",
		Tried:    "kms:Decrypt of A's wrapped data key; kms:DescribeKey of A's key and of one that does not exist",
		Happened: fmt.Sprintf("%s; the two descriptions are refused alike: %v", codeOf(err), alike),
		Evidence: "request " + id,
		Holds:    codeOf(err) == "AccessDeniedException" && alike,
	})
	return nil
}

func (t *tour) refuseTheOperator(ctx context.Context) error {
	type attempt struct {
		what string
		err  error
	}
	js := func(op string, in any) attempt {
		_, err := t.operator.json(ctx, "kms", op, in, nil)
		return attempt{"kms:" + op, err}
	}
	_, _, err := t.decrypt(ctx, t.operator, t.wrapped, recordsContext)
	attempts := []attempt{{"kms:Decrypt", err},
		js("GetKeyPolicy", map[string]any{"KeyId": t.keyARN}),
		js("PutKeyPolicy", map[string]any{"KeyId": t.keyARN, "Policy": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}]}`}),
		js("CreateGrant", map[string]any{"KeyId": t.keyARN, "GranteePrincipal": "arn:aws:iam::" + t.accountA + ":root", "Operations": []string{"Decrypt"}}),
		js("ReEncrypt", map[string]any{"CiphertextBlob": t.wrapped, "SourceEncryptionContext": recordsContext, "DestinationKeyId": t.keyARN}),
		js("ScheduleKeyDeletion", map[string]any{"KeyId": t.keyARN}),
	}
	_, err = t.operator.query(ctx, "sts", "2011-06-15", "AssumeRole", url.Values{"RoleArn": {"arn:aws:iam::" + t.accountA + ":role/administrator"}, "RoleSessionName": {"operator"}}, nil)
	attempts = append(attempts, attempt{"sts:AssumeRole into A", err})
	holds, lines := true, []string{}
	for _, a := range attempts {
		lines = append(lines, a.what+": "+codeOf(a.err))
		if c := codeOf(a.err); !strings.HasPrefix(c, "AccessDenied") {
			holds = false
		}
	}
	var events struct {
		Events []struct{ EventId, CloudTrailEvent string }
	}
	if _, err := t.operator.json(ctx, "cloudtrail", "LookupEvents", map[string]any{}, &events); err != nil {
		return err
	}
	recorded := 0
	for _, e := range events.Events {
		if strings.Contains(e.CloudTrailEvent, `"errorCode":"AccessDenied`) {
			recorded++
		}
	}
	t.add(claim{
		Promise:  operatorPromise,
		Claim:    "Every operator credential together opens nothing of hospital A's",
		By:       "operator, with the operator account's administrator",
		Tried:    "use, read, change, grant, re-encrypt or delete A's key; become one of A's roles",
		Happened: strings.Join(lines, "; "),
		Evidence: fmt.Sprintf("the operator's own log holds %d refusals", recorded),
		Holds:    holds && recorded >= len(attempts),
	})
	return nil
}

func (t *tour) searchStorage(ctx context.Context) error {
	key, _, err := t.decrypt(ctx, t.a, t.wrapped, recordsContext)
	if err != nil {
		return err
	}
	defer secret.Wipe(key)
	needles := map[string][]byte{
		"a line of the records":  bytes.SplitN(records, []byte("\n"), 3)[1],
		"the data key":           key,
		"the data key in hex":    []byte(hex.EncodeToString(key)),
		"the data key in base64": []byte(base64.StdEncoding.EncodeToString(key)),
		"A's secret access key":  []byte(t.a.SecretAccessKey),
	}
	files, size, found := 0, int64(0), []string{}
	err = filepath.WalkDir(t.plane.data, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			if os.IsNotExist(err) {
				return nil // the store compacts while we read
			}
			return err
		}
		files, size = files+1, size+int64(len(b))
		for what, n := range needles {
			if bytes.Contains(b, n) {
				found = append(found, what+" in "+filepath.Base(path))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	happened := fmt.Sprintf("nothing found in %d files, %d KiB", files, size>>10)
	if len(found) > 0 {
		happened = "FOUND " + strings.Join(found, ", ")
	}
	t.add(claim{
		Promise:  operatorPromise,
		Claim:    "A copy of all storage holds no plaintext, no data key and no secret",
		By:       "operator, with a copy of the whole data folder",
		Tried:    "search every file for the records, the data key (raw, hex, base64) and A's secret access key",
		Happened: happened,
		Evidence: "docs/trust-model.md says what the software seal key means for storage",
		Holds:    len(found) == 0 && files > 0,
	})
	return nil
}

func (t *tour) searchMemory(ctx context.Context) error {
	c := claim{
		Promise:  "3: access-key secrets exist only in the identity authority",
		Claim:    "The front process, which serves every request, holds no access-key secret",
		By:       "operator, with root on the machine",
		Tried:    "read the whole memory of the front process while it runs, and search for A's and B's secret access keys",
		Evidence: fmt.Sprintf("/proc/%d/mem", t.plane.pid()),
	}
	scanned, hits, err := searchProcess(t.plane.pid(), []byte(t.a.SecretAccessKey), []byte(t.b.SecretAccessKey))
	switch {
	case err != nil:
		c.Happened, c.Holds = "the system let nobody read it: "+err.Error(), true
	case hits > 0:
		c.Happened = fmt.Sprintf("FOUND %d times in %d MiB", hits, scanned>>20)
	default:
		c.Happened, c.Holds = fmt.Sprintf("not found in %d MiB", scanned>>20), scanned > 0
	}
	t.add(c)
	return nil
}

func (t *tour) revoke(ctx context.Context) error {
	call := func(c *client, op string, in, out any) error {
		_, err := c.json(ctx, "kms", op, in, out)
		return err
	}
	if err := call(t.a, "DisableKey", map[string]any{"KeyId": t.keyARN}, nil); err != nil {
		return err
	}
	_, id, disabled := t.decrypt(ctx, t.a, t.wrapped, recordsContext)
	if err := call(t.a, "EnableKey", map[string]any{"KeyId": t.keyARN}, nil); err != nil {
		return err
	}
	_, _, enabled := t.decrypt(ctx, t.a, t.wrapped, recordsContext)
	t.add(claim{
		Promise:  "6: disabling a key is effective at once",
		Claim:    "A disabled key opens nothing, not even for its owner",
		By:       "hospital A",
		Tried:    "kms:DisableKey, kms:Decrypt; kms:EnableKey, kms:Decrypt",
		Happened: fmt.Sprintf("disabled: %s; enabled again: opened", codeOf(disabled)),
		Evidence: "request " + id,
		Holds:    codeOf(disabled) == "DisabledException" && enabled == nil,
	})

	var who struct {
		Arn string `xml:"GetCallerIdentityResult>Arn"`
	}
	if _, err := t.b.query(ctx, "sts", "2011-06-15", "GetCallerIdentity", nil, &who); err != nil {
		return err
	}
	var grant struct{ GrantId string }
	if err := call(t.a, "CreateGrant", map[string]any{"KeyId": t.keyARN, "GranteePrincipal": who.Arn, "Operations": []string{"Decrypt"},
		"Constraints": map[string]any{"EncryptionContextEquals": recordsContext}}, &grant); err != nil {
		return err
	}
	_, _, granted := t.decrypt(ctx, t.b, t.wrapped, recordsContext)
	began := time.Now()
	if err := call(t.a, "RevokeGrant", map[string]any{"KeyId": t.keyARN, "GrantId": grant.GrantId}, nil); err != nil {
		return err
	}
	took := time.Since(began)
	_, id, revoked := t.decrypt(ctx, t.b, t.wrapped, recordsContext)
	t.add(claim{
		Promise:  "6: revoking a grant is effective at once",
		Claim:    "A grant opens for exactly as long as it stands",
		By:       "hospital A grants and revokes, hospital B uses",
		Tried:    "kms:CreateGrant for B, bound to the records' context; B: kms:Decrypt; kms:RevokeGrant; B: kms:Decrypt",
		Happened: fmt.Sprintf("with the grant B opened; after RevokeGrant (%.1f ms) the next call: %s", took.Seconds()*1000, codeOf(revoked)),
		Evidence: fmt.Sprintf("grant %s…, request %s", grant.GrantId[:min(16, len(grant.GrantId))], id),
		Holds:    granted == nil && codeOf(revoked) == "AccessDeniedException",
	})
	if granted != nil {
		return fmt.Errorf("hospital B could not use its grant: %w", granted)
	}
	return nil
}

func (t *tour) tamper(ctx context.Context) error {
	_, _, other := t.decrypt(ctx, t.a, t.wrapped, map[string]string{"hospital": "B", "dataset": "heart disease"})
	_, _, none := t.decrypt(ctx, t.a, t.wrapped, nil)
	flipped := bytes.Clone(t.wrapped)
	flipped[len(flipped)-1] ^= 1
	_, id, bit := t.decrypt(ctx, t.a, flipped, recordsContext)
	t.add(claim{
		Promise:  operatorPromise,
		Claim:    "A ciphertext opens only with the context that it was made with, and only whole",
		By:       "hospital A's own administrator",
		Tried:    "kms:Decrypt with another context, without one, and with one bit of the blob turned",
		Happened: fmt.Sprintf("%s; %s; %s", codeOf(other), codeOf(none), codeOf(bit)),
		Evidence: "request " + id,
		Holds:    codeOf(other) == "InvalidCiphertextException" && codeOf(none) == "InvalidCiphertextException" && codeOf(bit) == "InvalidCiphertextException",
	})
	return nil
}

func (t *tour) prove(ctx context.Context) error {
	var events struct {
		Events []struct{ EventId, EventName, CloudTrailEvent string }
	}
	if _, err := t.a.json(ctx, "cloudtrail", "LookupEvents", map[string]any{"LookupAttributes": []map[string]string{{"AttributeKey": "EventName", "AttributeValue": "Decrypt"}}}, &events); err != nil {
		return err
	}
	outsiders := 0
	for _, e := range events.Events {
		var r struct {
			UserIdentity struct{ Type, AccountId string } `json:"userIdentity"`
		}
		if json.Unmarshal([]byte(e.CloudTrailEvent), &r) == nil && r.UserIdentity.AccountId == t.accountB {
			outsiders++
		}
	}
	t.add(claim{
		Promise:  "4: no answer before its audit record is durable",
		Claim:    "Hospital A sees every use of its key, by whomever",
		By:       "hospital A",
		Tried:    "cloudtrail:LookupEvents for Decrypt",
		Happened: fmt.Sprintf("%d uses or attempts by its own people, %d by hospital B with the grant", len(events.Events)-outsiders, outsiders),
		Evidence: "the newest: " + first(events.Events).EventId,
		Holds:    len(events.Events) >= 7 && outsiders == 1,
	})

	dir := filepath.Join(t.dir, "export")
	if err := exportLog(ctx, t.a, dir); err != nil {
		return fmt.Errorf("audit export: %w", err)
	}
	report, err := verifyLog(dir, verifyOptions{})
	if err != nil {
		return fmt.Errorf("audit verify: %w", err)
	}
	t.add(claim{
		Promise:  "4: a customer detects any later change offline",
		Claim:    "Hospital A's log verifies without the plane",
		By:       "hospital A, offline",
		Tried:    "leadglass audit export; leadglass audit verify",
		Happened: fmt.Sprintf("%d events, every signature, hash, proof and commitment checked", report.VerifiedEvents),
		Evidence: fmt.Sprintf("root log of size %d, epoch %d; problems: %d", report.RootSize, report.Epoch, len(report.Problems)),
		Holds:    report.OK && report.VerifiedEvents > 0,
	})

	victim, offset, err := alterOneByte(dir)
	if err != nil {
		return err
	}
	altered, err := verifyLog(dir, verifyOptions{})
	if err != nil {
		return fmt.Errorf("audit verify: %w", err)
	}
	t.add(claim{
		Promise:  "4: a customer detects any later change offline",
		Claim:    "One altered byte in the log is found",
		By:       "somebody with write access to the log",
		Tried:    fmt.Sprintf("turn one bit of byte %d of %s; verify again", offset, victim),
		Happened: "verification failed: " + strings.Join(altered.Problems[:min(1, len(altered.Problems))], ""),
		Evidence: fmt.Sprintf("%d problems reported", len(altered.Problems)),
		Holds:    !altered.OK && len(altered.Problems) > 0,
	})
	return nil
}

func first[T any](s []T) (zero T) {
	if len(s) > 0 {
		return s[0]
	}
	return zero
}

func short(arn string) string {
	if i := strings.LastIndexByte(arn, '/'); i >= 0 && len(arn) > i+9 {
		return arn[i+1:i+9] + "…"
	}
	return arn
}
