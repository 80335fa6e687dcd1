// Seals and opens with the AWS Encryption SDK for JavaScript, unmodified:
//   esdk.mjs seal|open KEYARN IN OUT [HEXSUITE]
// Used by the end-to-end test only.
import { readFileSync, writeFileSync } from "node:fs";
import { buildClient, CommitmentPolicy, KmsKeyringNode, buildAwsKmsMrkAwareStrictMultiKeyringNode } from "@aws-crypto/client-node";

const [action, keyArn, from, to, suite] = process.argv.slice(2);
const keyring = keyArn.includes(":key/mrk-")
  ? buildAwsKmsMrkAwareStrictMultiKeyringNode({ generatorKeyId: keyArn })
  : new KmsKeyringNode({ generatorKeyId: keyArn });
const { encrypt, decrypt } = buildClient(CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT);
const strict = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const input = readFileSync(from);
if (action === "seal") {
  const options = { plaintext: input, encryptionContext: { tenant: "a", "ünïcode": "ß" } };
  const { result } = suite
    ? await encrypt(keyring, input, { ...options, suiteId: parseInt(suite, 16) })
    : await strict.encrypt(keyring, input, options);
  writeFileSync(to, result);
} else {
  const { plaintext } = suite ? await decrypt(keyring, input) : await strict.decrypt(keyring, input);
  writeFileSync(to, plaintext);
}
