//! TEMP
/// x
#[derive(Clone, Copy, Debug, Default)]
pub enum Format {
    /// x
    #[default]
    Auto,
}
