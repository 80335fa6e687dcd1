// Drives a running Leadglass with the AWS SDK for JavaScript, unmodified: endpoint,
// region and credentials come from the ordinary environment. Exits non-zero at the
// first thing that is not as AWS's own service would have it.
import assert from "node:assert/strict";
import { KMSClient, CreateKeyCommand, CreateAliasCommand, EncryptCommand, DecryptCommand, GenerateDataKeyCommand,
  DisableKeyCommand, DescribeKeyCommand, ScheduleKeyDeletionCommand, paginateListKeys, InvalidCiphertextException,
  DisabledException, NotFoundException } from "@aws-sdk/client-kms";
import { STSClient, GetCallerIdentityCommand, AssumeRoleCommand } from "@aws-sdk/client-sts";
import { IAMClient, CreateUserCommand, GetUserCommand, DeleteUserCommand, CreateRoleCommand, PutRolePolicyCommand,
  GetRolePolicyCommand, DeleteRolePolicyCommand, DeleteRoleCommand, NoSuchEntityException, EntityAlreadyExistsException,
  waitUntilUserExists, paginateListUsers } from "@aws-sdk/client-iam";
import { CloudTrailClient, LookupEventsCommand, paginateLookupEvents } from "@aws-sdk/client-cloudtrail";

const kms = new KMSClient({}), sts = new STSClient({}), iam = new IAMClient({}), trail = new CloudTrailClient({});
const name = "js-" + Date.now();

const me = await sts.send(new GetCallerIdentityCommand({}));
assert.match(me.Account, /^\d{12}$/);

// IAM: round trip, typed errors, waiter, paginator.
const { User } = await iam.send(new CreateUserCommand({ UserName: name, Path: "/ward/", Tags: [{ Key: "team", Value: "Zürich = 3" }] }));
assert.equal(User.Arn, `arn:aws:iam::${me.Account}:user/ward/${name}`);
await assert.rejects(iam.send(new CreateUserCommand({ UserName: name.toUpperCase() })), EntityAlreadyExistsException);
await waitUntilUserExists({ client: iam, maxWaitTime: 5 }, { UserName: name });
await assert.rejects(iam.send(new GetUserCommand({ UserName: "nobody" })), NoSuchEntityException);
const seen = [];
for await (const page of paginateListUsers({ client: iam, pageSize: 1 }, {})) seen.push(...page.Users.map(u => u.UserName));
assert.ok(seen.includes(name), "the paginator passes every user");
await iam.send(new DeleteUserCommand({ UserName: name }));

// STS: a role, assumed, does what its policy says and no more.
const trust = JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", Principal: { AWS: me.Account }, Action: "sts:AssumeRole" }] });
const { Role } = await iam.send(new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: trust }));
const allow = { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "kms:ListKeys", Resource: "*" }] };
await iam.send(new PutRolePolicyCommand({ RoleName: name, PolicyName: "list", PolicyDocument: JSON.stringify(allow) }));
const back = await iam.send(new GetRolePolicyCommand({ RoleName: name, PolicyName: "list" }));
assert.deepEqual(JSON.parse(decodeURIComponent(back.PolicyDocument)), allow);
const { Credentials } = await sts.send(new AssumeRoleCommand({ RoleArn: Role.Arn, RoleSessionName: "js" }));
const session = { accessKeyId: Credentials.AccessKeyId, secretAccessKey: Credentials.SecretAccessKey, sessionToken: Credentials.SessionToken };
const asRole = new KMSClient({ credentials: session });
const who = await new STSClient({ credentials: session }).send(new GetCallerIdentityCommand({}));
assert.equal(who.Arn, `arn:aws:sts::${me.Account}:assumed-role/${name}/js`);
for await (const page of paginateListKeys({ client: asRole }, {})) assert.ok(Array.isArray(page.Keys));
await assert.rejects(asRole.send(new CreateKeyCommand({})), e => e.name === "AccessDeniedException" && e.$metadata.httpStatusCode === 400);

// KMS: envelope, context, typed errors.
const { KeyMetadata } = await kms.send(new CreateKeyCommand({ Description: "from JavaScript", Tags: [{ TagKey: "a", TagValue: "b" }] }));
await kms.send(new CreateAliasCommand({ AliasName: `alias/${name}`, TargetKeyId: KeyMetadata.KeyId }));
const EncryptionContext = { patient: "42" }, Plaintext = new TextEncoder().encode("blood pressure 120/80");
const sealed = await kms.send(new EncryptCommand({ KeyId: `alias/${name}`, Plaintext, EncryptionContext }));
assert.equal(sealed.KeyId, KeyMetadata.Arn);
const opened = await kms.send(new DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext }));
assert.deepEqual(opened.Plaintext, Plaintext);
await assert.rejects(kms.send(new DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: { patient: "43" } })), InvalidCiphertextException);
const dataKey = await kms.send(new GenerateDataKeyCommand({ KeyId: KeyMetadata.KeyId, KeySpec: "AES_256" }));
assert.equal(dataKey.Plaintext.length, 32);
await kms.send(new DisableKeyCommand({ KeyId: KeyMetadata.KeyId }));
await assert.rejects(kms.send(new DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext })), DisabledException);
assert.equal((await kms.send(new DescribeKeyCommand({ KeyId: KeyMetadata.Arn }))).KeyMetadata.Enabled, false);
await assert.rejects(kms.send(new DescribeKeyCommand({ KeyId: "12345678-1234-1234-1234-123456789012" })), NotFoundException);
const gone = await kms.send(new ScheduleKeyDeletionCommand({ KeyId: KeyMetadata.KeyId, PendingWindowInDays: 7 }));
assert.ok(gone.DeletionDate instanceof Date && gone.DeletionDate > new Date());

// CloudTrail: what happened is there at once.
const { Events } = await trail.send(new LookupEventsCommand({ LookupAttributes: [{ AttributeKey: "EventName", AttributeValue: "ScheduleKeyDeletion" }], MaxResults: 5 }));
assert.ok(Events.some(e => JSON.parse(e.CloudTrailEvent).requestParameters.keyId === KeyMetadata.KeyId), "the deletion is in the log");
let pages = 0;
for await (const page of paginateLookupEvents({ client: trail, pageSize: 3 }, { LookupAttributes: [{ AttributeKey: "ReadOnly", AttributeValue: "false" }] })) { assert.ok(page.Events.length <= 3); if (++pages === 3) break; }

// A tampered secret is refused, as the typed client sees it.
await assert.rejects(new KMSClient({ credentials: { ...session, secretAccessKey: "x".repeat(40) } }).send(new CreateKeyCommand({})),
  e => e.name === "InvalidSignatureException");

await iam.send(new DeleteRolePolicyCommand({ RoleName: name, PolicyName: "list" }));
await iam.send(new DeleteRoleCommand({ RoleName: name }));
console.log("javascript ok");
