// Checks plain CloudFormation templates by cdk-nag's rules:
// node nag.cjs DIRECTORY TEMPLATE.json ..., which leaves DIRECTORY/validation-report.json.
const path = require("node:path");
const { App, Stack, Validations } = require("aws-cdk-lib");
const { CfnInclude } = require("aws-cdk-lib/cloudformation-include");
const { AwsSolutionsChecks, ServerlessChecks } = require("cdk-nag");

const [outdir, ...templates] = process.argv.slice(2);
const app = new App({ outdir, analyticsReporting: false });
for (const templateFile of templates) {
  const stack = new Stack(app, path.basename(templateFile, ".json"));
  new CfnInclude(stack, "template", { templateFile });
}
for (const Pack of [AwsSolutionsChecks, ServerlessChecks]) {
  Validations.of(app).addPlugins(new Pack(app));
}
try {
  app.synth();
} catch {
  // So it ends if anything is found; the report says what.
}
