//! Checks of how the schema is run.

mod literal_secrets;
mod secret_text;

pub(super) use literal_secrets::LiteralSecrets;
