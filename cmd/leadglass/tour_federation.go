package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/leadglass/leadglass/identity/federation/exampleissuer"
)

const federationPromise = "identities of elsewhere get what the account's own policies say, and no more"

// startIssuer starts hospital A's own sign-in and returns the flags with which
// a plane may reach it. It comes before the plane, which is told of it once.
func (t *tour) startIssuer() (flags []string, err error) {
	if t.issuer, err = exampleissuer.Start("hospital-a"); err != nil {
		return nil, err
	}
	ca := filepath.Join(t.dir, "issuer-ca.pem")
	if err := os.WriteFile(ca, t.issuer.Roots(), 0o600); err != nil {
		return nil, errors.Join(err, t.issuer.Close())
	}
	return []string{"--issuer-ca", ca, "--private-issuers", t.issuer.Host()}, nil
}

// A webSession is the answer to a token.
type webSession struct {
	AccessKeyID string `xml:"AssumeRoleWithWebIdentityResult>Credentials>AccessKeyId"`
	Secret      string `xml:"AssumeRoleWithWebIdentityResult>Credentials>SecretAccessKey"`
	Token       string `xml:"AssumeRoleWithWebIdentityResult>Credentials>SessionToken"`
}

// signIn shows a token and becomes a session. Nothing signs this request.
func (t *tour) signIn(ctx context.Context, role, name, token string) (*client, error) {
	stranger := newClient(profile{Name: name, Region: t.operator.Region, Endpoint: t.plane.url})
	var s webSession
	if _, err := stranger.query(ctx, "sts", "2011-06-15", "AssumeRoleWithWebIdentity", url.Values{
		"RoleArn": {role}, "RoleSessionName": {name}, "WebIdentityToken": {token},
	}, &s); err != nil {
		return nil, err
	}
	stranger.AccessKeyID, stranger.SecretAccessKey, stranger.Session = s.AccessKeyID, s.Secret, s.Token
	return stranger, nil
}

// federate lets hospital A's doctors in by the hospital's own sign-in, each to
// the records of her ward. It comes after the guardrail: both hold together.
func (t *tour) federate(ctx context.Context) error {
	role, err := t.trustIssuer(ctx)
	if err != nil {
		return err
	}
	wards, err := t.sealWards(ctx)
	if err != nil {
		return err
	}
	var token [2]string
	var doctor [2]*client
	for i, d := range wards {
		if token[i], err = t.issuer.Mint(time.Now(), exampleissuer.DoctorOf(d.doctor, d.name)); err != nil {
			return err
		}
		if doctor[i], err = t.signIn(ctx, role, d.doctor, token[i]); err != nil {
			return fmt.Errorf("%s cannot sign in: %w", d.doctor, err)
		}
	}

	opened, holds, refused := 0, true, ""
	for i, c := range doctor {
		mine, other := wards[i], wards[1-i]
		text, _, err := t.decrypt(ctx, c, mine.sealed, mine.context())
		if err != nil {
			return fmt.Errorf("%s cannot read ward %s: %w", mine.doctor, mine.name, err)
		}
		opened += bytes.Count(text, []byte("\n"))
		_, id, err := t.decrypt(ctx, c, other.sealed, other.context())
		holds = holds && bytes.Equal(text, mine.records) && codeOf(err) == "AccessDeniedException"
		if i == 0 {
			refused = id
		}
	}
	came, err := t.event(ctx, "AssumeRoleWithWebIdentity", func(e string) bool { return strings.Contains(e, `"userName":"`+wards[0].doctor+`"`) })
	if err != nil {
		return err
	}
	named := strings.Contains(came, `"type":"WebIdentityUser"`) && !strings.Contains(came, token[0])
	t.add(claim{
		Promise:  federationPromise,
		Claim:    "A doctor signs in at her hospital's own OIDC issuer and reads her ward's records by tag, not another's",
		By:       "dr-schmidt of ward 3 and dr-weber of ward 4, who have no account and no key here",
		Tried:    "show a token of the issuer (sts:AssumeRoleWithWebIdentity, its ward becomes a session tag); kms:Decrypt of both wards' records.\nOne role for all: it may use a key whose Ward tag is the caller's Ward tag",
		Happened: fmt.Sprintf("each opened her own ward's (%d records in all), and was refused the other's: %v", opened, holds),
		Evidence: fmt.Sprintf("request %s; hospital A's log names her and not her token: %v", refused, named),
		Holds:    holds && named,
	})

	if err := t.explainRefusal(ctx, refused, wards[0].doctor); err != nil {
		return err
	}
	if err := t.changeWard(ctx, doctor[0], wards[1]); err != nil {
		return err
	}
	if err := t.forge(ctx, role, wards[0]); err != nil {
		return err
	}
	return t.endSession(ctx, doctor, wards)
}

// trustIssuer registers the issuer and makes the one role of all doctors.
func (t *tour) trustIssuer(ctx context.Context) (role string, err error) {
	var provider struct {
		ARN string `xml:"CreateOpenIDConnectProviderResult>OpenIDConnectProviderArn"`
	}
	var made struct {
		ARN string `xml:"CreateRoleResult>Role>Arn"`
	}
	iam := func(op string, in url.Values, out any) {
		if err == nil {
			if _, err = t.a.query(ctx, "iam", "2010-05-08", op, in, out); err != nil {
				err = fmt.Errorf("iam:%s: %w", op, err)
			}
		}
	}
	iam("CreateOpenIDConnectProvider", url.Values{"Url": {t.issuer.URL()}, "ClientIDList.member.1": {exampleissuer.ClientID}}, &provider)
	host := strings.TrimPrefix(t.issuer.URL(), "https://")
	iam("CreateRole", url.Values{"RoleName": {"doctor"}, "AssumeRolePolicyDocument": {`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + provider.ARN + `"},` +
		`"Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession","sts:SetSourceIdentity"],` +
		`"Condition":{"StringEquals":{"` + host + `:aud":"` + exampleissuer.ClientID + `"},"StringLike":{"` + host + `:sub":"dr-*"}}}]}`}}, &made)
	iam("PutRolePolicy", url.Values{"RoleName": {"doctor"}, "PolicyName": {"own-ward"}, "PolicyDocument": {`{"Version":"2012-10-17","Statement":[` +
		`{"Sid":"OwnWard","Effect":"Allow","Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/Ward":"${aws:PrincipalTag/Ward}"}}},` +
		`{"Sid":"OtherRoles","Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Resource":"*"}]}`}}, nil)
	iam("CreateRole", url.Values{"RoleName": {"archive"}, "AssumeRolePolicyDocument": {`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + made.ARN + `"},` +
		`"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}`}}, nil)
	return made.ARN, err
}

// A ward is a part of the records under a key of its own.
type ward struct {
	name, doctor string
	key          string // ARN
	records      []byte
	sealed       []byte
}

func (w *ward) context() map[string]string { return map[string]string{"hospital": "A", "ward": w.name} }

// sealWards encrypts twenty of the records for each of two wards.
func (t *tour) sealWards(ctx context.Context) ([]*ward, error) {
	lines := bytes.SplitAfter(records, []byte("\n"))[1:] // without the head
	wards := []*ward{{name: "3", doctor: "dr-schmidt"}, {name: "4", doctor: "dr-weber"}}
	for i, w := range wards {
		w.records = bytes.Join(lines[20*i:20*(i+1)], nil)
		var key struct{ KeyMetadata struct{ Arn string } }
		if _, err := t.a.json(ctx, "kms", "CreateKey", map[string]any{"Description": "ward " + w.name, "Tags": []map[string]string{{"TagKey": "Ward", "TagValue": w.name}}}, &key); err != nil {
			return nil, err
		}
		w.key = key.KeyMetadata.Arn
		var out struct{ CiphertextBlob []byte }
		if _, err := t.a.json(ctx, "kms", "Encrypt", map[string]any{"KeyId": w.key, "Plaintext": w.records, "EncryptionContext": w.context()}, &out); err != nil {
			return nil, err
		}
		w.sealed = out.CiphertextBlob
	}
	return wards, nil
}

// event finds the newest record of hospital A's log with a name, of which is is true.
func (t *tour) event(ctx context.Context, name string, is func(event string) bool) (string, error) {
	var page struct {
		Events []struct{ CloudTrailEvent string }
	}
	if _, err := t.a.json(ctx, "cloudtrail", "LookupEvents", map[string]any{"LookupAttributes": []map[string]string{{"AttributeKey": "EventName", "AttributeValue": name}}}, &page); err != nil {
		return "", err
	}
	for _, e := range page.Events {
		if is(e.CloudTrailEvent) {
			return e.CloudTrailEvent, nil
		}
	}
	return "", fmt.Errorf("hospital A's log has no such event of %s", name)
}

// explainRefusal is `leadglass why` on the ward that was refused.
func (t *tour) explainRefusal(ctx context.Context, requestID, doctor string) error {
	raw, err := t.event(ctx, "Decrypt", func(e string) bool { return strings.Contains(e, requestID) })
	if err != nil {
		return err
	}
	var e whyEvent
	if err := json.Unmarshal([]byte(raw), &e); err != nil {
		return err
	}
	x := explain(&e)
	t.add(claim{
		Promise:  federationPromise,
		Claim:    "A refusal explains itself to the account that it happened in",
		By:       "hospital A's administrator",
		Tried:    "leadglass why " + e.EventID + ", the event of " + doctor + " and ward 4",
		Happened: x.Why + " " + first(x.Remedies),
		Evidence: "the record itself: policy, statement, line, and the condition that was not met",
		Holds: x.Verdict == "denied" && strings.HasSuffix(x.Caller, "/"+doctor) && strings.Contains(first(x.Remedies), "aws:ResourceTag/Ward") &&
			strings.Contains(first(x.Remedies), "OwnWard") && strings.Contains(first(x.Remedies), "is 3; the request says 4"),
	})
	return nil
}

// changeWard is a doctor who tries to get into another ward by what she may change.
func (t *tour) changeWard(ctx context.Context, doctor *client, other *ward) error {
	_, tagKey := doctor.json(ctx, "kms", "TagResource", map[string]any{"KeyId": other.key, "Tags": []map[string]string{{"TagKey": "Ward", "TagValue": "3"}}}, nil)
	archive := "arn:aws:iam::" + t.accountA + ":role/archive"
	_, retag := doctor.query(ctx, "sts", "2011-06-15", "AssumeRole", url.Values{
		"RoleArn": {archive}, "RoleSessionName": {"research"}, "Tags.member.1.Key": {"Ward"}, "Tags.member.1.Value": {other.name},
	}, nil)
	_, rename := doctor.query(ctx, "sts", "2011-06-15", "AssumeRole", url.Values{"RoleArn": {archive}, "RoleSessionName": {"research"}, "SourceIdentity": {other.doctor}}, nil)
	// The same role lets her in when she stays who she is; otherwise the refusals above would show nothing.
	id, plain := doctor.query(ctx, "sts", "2011-06-15", "AssumeRole", url.Values{"RoleArn": {archive}, "RoleSessionName": {"research"}}, nil)
	if plain != nil {
		return fmt.Errorf("the doctor cannot become the archive: %w", plain)
	}
	t.add(claim{
		Promise:  federationPromise,
		Claim:    "Her ward and her name go with her, and she cannot change them",
		By:       "dr-schmidt",
		Tried:    "tag ward 4's key as ward 3's; go on into the role \"archive\" as somebody of ward 4, as dr-weber, and as herself",
		Happened: fmt.Sprintf("%s; %s; %s; as herself she may", codeOf(tagKey), codeOf(retag), codeOf(rename)),
		Evidence: "request " + id,
		Holds:    codeOf(tagKey) == "AccessDeniedException" && codeOf(retag) == "InvalidParameterValue" && codeOf(rename) == "AccessDenied",
	})
	return nil
}

// forge shows tokens that are not what they say.
func (t *tour) forge(ctx context.Context, role string, w *ward) error {
	// Another issuer of the same kind: whoever runs one can mint what he likes.
	other, err := exampleissuer.Start("hospital-a")
	if err != nil {
		return err
	}
	defer other.Close()
	claims := exampleissuer.DoctorOf(w.doctor, w.name)
	claims["iss"] = t.issuer.URL()
	forged, err := other.Mint(time.Now(), claims)
	if err != nil {
		return err
	}
	visitor, err := t.issuer.Mint(time.Now(), exampleissuer.DoctorOf("visitor-7", w.name))
	if err != nil {
		return err
	}
	genuine, err := t.issuer.Mint(time.Now(), exampleissuer.DoctorOf(w.doctor, w.name))
	if err != nil {
		return err
	}
	said := map[string]bool{}
	for _, a := range []struct{ role, token string }{
		{role, forged}, {role, visitor},
		{strings.Replace(role, "/doctor", "/nobody", 1), genuine},
		{"arn:aws:iam::" + t.accountB + ":role/doctor", genuine},
	} {
		_, err := t.signIn(ctx, a.role, w.doctor, a.token)
		if err == nil {
			said["let in"] = true
			continue
		}
		said[err.Error()] = true
	}
	answer := ""
	for s := range said {
		answer = s
	}
	happened := "the same answer four times: " + answer
	if len(said) != 1 {
		happened = fmt.Sprintf("%d answers that differ, one of them: %s", len(said), answer)
	}
	t.add(claim{
		Promise:  federationPromise,
		Claim:    "Whoever is not let in learns nothing of what the account has",
		By:       "somebody without credentials",
		Tried:    "a token in her name by another key; a genuine one of a visitor; a genuine one of hers for a role that does not exist, and for hospital B",
		Happened: happened,
		Evidence: "docs/design/0006-federation.md says why there is one refusal",
		Holds:    len(said) == 1 && strings.HasPrefix(answer, "AccessDenied: "),
	})
	return nil
}

// endSession ends one doctor's session, and only hers.
func (t *tour) endSession(ctx context.Context, doctor [2]*client, wards []*ward) error {
	began := time.Now()
	if _, err := t.a.json(ctx, "leadglass", "RevokeSessions", map[string]any{"AccessKeyId": doctor[0].AccessKeyID}, nil); err != nil {
		return err
	}
	took := time.Since(began)
	_, id, hers := t.decrypt(ctx, doctor[0], wards[0].sealed, wards[0].context())
	_, _, other := t.decrypt(ctx, doctor[1], wards[1].sealed, wards[1].context())
	t.add(claim{
		Promise:  "6: a revocation is effective within a second",
		Claim:    "A session that is ended opens nothing from the next call on",
		By:       "hospital A's administrator",
		Tried:    "leadglass:RevokeSessions (leadglass session revoke) of " + doctor[0].AccessKeyID + "; dr-schmidt and dr-weber: kms:Decrypt once more",
		Happened: fmt.Sprintf("revoked in %.1f ms; dr-schmidt's next call: %s; dr-weber reads on: %v", took.Seconds()*1000, codeOf(hers), other == nil),
		Evidence: "request " + id,
		Holds:    codeOf(hers) == "UnrecognizedClientException" && other == nil,
	})
	return nil
}
