//! People, teams, roles and tokens on the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A person with everything they hold.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Person {
    /// Its id, which the ledger names.
    pub id: String,
    /// The name they sign in with and act under.
    pub name: String,
    /// Where notices go.
    pub email: Option<String>,
    /// `enabled`, `disabled`, `removed`.
    pub state: PersonStateName,
    /// The provider's issuer, for an account that signs in there.
    pub issuer: Option<String>,
    /// Whether they have a password here.
    pub has_password: bool,
    /// The teams they are in.
    pub teams: Vec<String>,
    /// The roles they hold themselves.
    pub roles: Vec<HeldRole>,
    /// When the account was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Whether somebody may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PersonStateName {
    /// May.
    Enabled,
    /// May not, until enabled again.
    Disabled,
    /// May never again; the name stays taken.
    Removed,
}

impl PersonStateName {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Removed => "removed",
        }
    }
}

/// A role that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldRole {
    /// `viewer`, `operator`, `approver`, `owner`, `admin`.
    pub role: String,
    /// `all`, `environment/NAME` or `team/NAME`.
    pub scope: String,
    /// Who gave it.
    pub given_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub given_at: Timestamp,
}

/// A role that the caller holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldBy {
    /// `viewer`, `operator`, `approver`, `owner`, `admin`.
    pub role: String,
    /// `all`, `environment/NAME` or `team/NAME`.
    pub scope: String,
}

/// A team.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Team {
    /// Its name, which is also what an asset's owner says.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// Who is in it.
    pub members: Vec<TeamMember>,
    /// The roles that everybody in it holds.
    pub roles: Vec<HeldRole>,
    /// Assets that it owns.
    pub assets: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Somebody in a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TeamMember {
    /// Their name.
    pub person: String,
    /// Whether the provider they signed in with says so, and not somebody here.
    pub by_provider: bool,
}

/// A new account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePerson {
    /// The name they sign in with and act under; never given twice.
    pub name: String,
    /// Where notices go.
    pub email: Option<String>,
}

/// Whether somebody may sign in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPersonState {
    /// The new state.
    pub state: PersonStateName,
}

/// Where notices go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetEmail {
    /// The address; none when left away.
    pub email: Option<String>,
}

/// A link with which somebody sets a password, once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// To be handed to the person; whoever has it can sign in as them.
    pub url: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

/// A new team.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTeam {
    /// Its name, which is also what an asset's owner says.
    pub name: String,
    /// What it is for.
    pub about: Option<String>,
}

/// Who is in a team.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMember {
    /// The person's name.
    pub person: String,
    /// Whether they are in it.
    pub member: bool,
}

/// A role that is given or taken: to a person or to a team.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeGrant {
    /// The person's name.
    pub person: Option<String>,
    /// The team's name.
    pub team: Option<String>,
    /// `viewer`, `operator`, `approver`, `owner`, `admin`.
    pub role: String,
    /// `all`, `environment/NAME` or `team/NAME`.
    pub scope: String,
}

/// A token for programs; the token itself is not shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// What to call it by; not the token.
    pub id: String,
    /// Its name: its acts are recorded as `token:NAME`.
    pub name: String,
    /// Who made it and answers for it; nobody for one made on the server's machine.
    pub made_by: Option<String>,
    /// What it lets do, never more than its maker may: `read`, `operate`, `approve`, `admin`.
    pub scopes: Vec<String>,
    /// The only environment it reaches.
    pub environment: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to five minutes.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
}

/// A new token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// Its name.
    pub name: String,
    /// `operate`, `approve`, `admin`; every token may `read`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The only environment it reaches; all when left away.
    pub environment: Option<String>,
    /// Days it lasts, 1 to 366; 90 when left away.
    pub days: Option<u32>,
}

/// A token that was just made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// Its name.
    pub name: String,
    /// The token: `Authorization: Bearer stn_...`. It is shown this once.
    pub token: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// A new password for oneself.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The one in force; empty for who has none.
    #[serde(default)]
    pub old: String,
    /// The new one, of at least twelve characters.
    pub new: String,
}
