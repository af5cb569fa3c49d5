//! Policies as text → a policy set that its schema accepts, strictly.

use std::sync::OnceLock;

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};

const SCHEMA: &str = include_str!("../../../profiles/policies.cedarschema");

/// The schema, compiled in. It is one of the program's own files: that it reads is a test's business.
pub(in crate::policy) fn schema() -> Result<&'static Schema, String> {
    static READ: OnceLock<Result<Schema, String>> = OnceLock::new();
    let read = || Schema::from_cedarschema_str(SCHEMA).map(|(schema, _warnings)| schema).map_err(|e| e.to_string());
    READ.get_or_init(read).as_ref().map_err(Clone::clone)
}

/// Parses and validates. A policy that the schema does not account for could err when it is asked, and Cedar skips a forbid that errs;
/// so what is not accepted as a whole is refused as a whole.
pub(in crate::policy) fn policies(text: &str) -> Result<PolicySet, String> {
    let set: PolicySet = text.parse().map_err(|e| format!("they cannot be parsed: {e:?}"))?;
    if set.num_of_templates() > 0 {
        return Err("they hold a template, which nobody fills in".to_owned());
    }
    if let Some(unnamed) = set.policies().find(|p| p.annotation("id").is_none_or(str::is_empty)) {
        return Err(format!("`{}` has no name: write @id(\"…\") before it", unnamed.id()));
    }
    let validator = Validator::new(schema()?.clone());
    let verdict = validator.validate(&set, ValidationMode::Strict);
    let errors: Vec<String> = verdict.validation_errors().map(ToString::to_string).collect();
    if errors.is_empty() { Ok(set) } else { Err(format!("the schema does not accept them: {}", errors.join("; "))) }
}
