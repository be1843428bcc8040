//! People, teams and what they may do. A role is held for a scope: everything, an environment, or the assets a team
//! owns. What nobody granted is not allowed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::asset::Asset;
use crate::id::ActorId;
use crate::terms::Role;

/// The most bytes of the name of a person or team.
const LONGEST: usize = 64;
/// Actors of the ledger that are no people; nobody may be called like them.
const RESERVED: &[&str] = &["system", "server", "policy", "operator", "nobody"];

/// A text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: 1 to {LONGEST} of a-z, 0-9, `.`, `_`, `-`, `@` and `+`, a letter or digit first")]
pub struct NotAName(String);

fn name(text: &str) -> Result<String, NotAName> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = text.len() <= LONGEST
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|byte| plain(byte) || b"._-@+".contains(&byte))
        && !RESERVED.contains(&text);
    if fits { Ok(text.to_owned()) } else { Err(NotAName(text.chars().take(LONGEST).collect())) }
}

macro_rules! named {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                name(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAName;

            fn try_from(text: String) -> Result<Self, NotAName> {
                name(&text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

named!(
    /// The name a person signs in with and acts under. It is never given to somebody else.
    PersonName
);
named!(
    /// The name of a team, which is also what an asset's `owner` says.
    TeamName
);

/// What a role lets people do. Tokens are limited to some of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Look.
    Read,
    /// Ask for plans, start what is suggested, hold, take back.
    Operate,
    /// Say yes or no to plans.
    Approve,
    /// Manage people, keys, connections and policies.
    Admin,
}

impl Power {
    /// All of them, least first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Operate, Self::Approve, Self::Admin];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Approve => "approve",
            Self::Admin => "admin",
        }
    }
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Operator, Self::Approver, Self::Owner, Self::Admin];

    /// What it lets people do. Everybody who has any role may look.
    pub const fn allows(self, power: Power) -> bool {
        match power {
            Power::Read => true,
            Power::Operate => matches!(self, Self::Operator | Self::Owner | Self::Admin),
            Power::Approve => matches!(self, Self::Approver | Self::Owner | Self::Admin),
            Power::Admin => matches!(self, Self::Admin),
        }
    }
}

/// Where a role holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everywhere, also for what belongs to no asset.
    Everything,
    /// For assets of an environment. An asset of which nobody said one is not in it.
    Environment(String),
    /// For assets that a team owns.
    Team(TeamName),
}

/// A text that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no scope: `all`, `environment/NAME` or `team/NAME`")]
pub struct NotAScope(String);

impl FromStr for Scope {
    type Err = NotAScope;

    fn from_str(text: &str) -> Result<Self, NotAScope> {
        let refused = || NotAScope(text.chars().take(80).collect());
        match text.split_once('/') {
            None if text == "all" => Ok(Self::Everything),
            Some(("environment", name)) if is_label(name) => Ok(Self::Environment(name.to_owned())),
            Some(("team", name)) => name.parse().map(Self::Team).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && text.chars().all(|c| !c.is_control() && !c.is_whitespace())
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("all"),
            Self::Environment(name) => write!(f, "environment/{name}"),
            Self::Team(name) => write!(f, "team/{name}"),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = NotAScope;

    fn try_from(text: String) -> Result<Self, NotAScope> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl Scope {
    /// Whether an asset is inside.
    pub fn covers(&self, asset: &Asset) -> bool {
        match self {
            Self::Everything => true,
            Self::Environment(name) => asset.environment.as_deref() == Some(name),
            Self::Team(name) => asset.owner.as_deref() == Some(name.as_str()),
        }
    }
}

/// Who holds a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// One person.
    Person(ActorId),
    /// Everybody in a team.
    Team(TeamName),
}

/// A text that names no holder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names neither a person nor a team")]
pub struct NotAHolder(String);

impl FromStr for Holder {
    type Err = NotAHolder;

    fn from_str(text: &str) -> Result<Self, NotAHolder> {
        let refused = || NotAHolder(text.chars().take(80).collect());
        match text.split_once('/') {
            Some(("person", id)) => id.parse().map(Self::Person).map_err(|_| refused()),
            Some(("team", name)) => name.parse().map(Self::Team).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(id) => write!(f, "person/{id}"),
            Self::Team(name) => write!(f, "team/{name}"),
        }
    }
}

/// A role that is held for a scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Held {
    /// The role.
    pub role: Role,
    /// Where.
    pub scope: Scope,
}

/// Everything that somebody may do: the roles they hold themselves and through teams, perhaps narrowed by the token
/// they came with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    held: BTreeSet<Held>,
    /// A token's limits; `None` for people.
    limits: Option<Limits>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Limits {
    powers: BTreeSet<Power>,
    environment: Option<String>,
}

impl Access {
    /// Access by these roles.
    pub fn new(held: impl IntoIterator<Item = Held>) -> Self {
        Self { held: held.into_iter().collect(), limits: None }
    }

    /// All power over everything: the operator of the machine.
    pub fn full() -> Self {
        Self::new([Held { role: Role::Admin, scope: Scope::Everything }])
    }

    /// The same through a token: never more than these powers, and only in one environment where one is named.
    #[must_use]
    pub fn narrowed(mut self, powers: BTreeSet<Power>, environment: Option<String>) -> Self {
        self.limits = Some(Limits { powers, environment });
        self
    }

    /// The roles behind it.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.iter()
    }

    fn lets(&self, power: Power) -> bool {
        self.limits.as_ref().is_none_or(|limits| limits.powers.contains(&power))
    }

    fn reaches(&self, asset: &Asset) -> bool {
        let only = self.limits.as_ref().and_then(|limits| limits.environment.as_deref());
        only.is_none_or(|environment| asset.environment.as_deref() == Some(environment))
    }

    /// Whether they may do this to an asset.
    pub fn may(&self, power: Power, asset: &Asset) -> bool {
        self.lets(power)
            && self.reaches(asset)
            && self.held.iter().any(|held| held.role.allows(power) && held.scope.covers(asset))
    }

    /// Whether they may do this to whatever there is, and to what belongs to no asset.
    pub fn may_everywhere(&self, power: Power) -> bool {
        let unbound = self.limits.as_ref().is_none_or(|limits| limits.environment.is_none());
        self.lets(power)
            && unbound
            && self.held.iter().any(|held| held.role.allows(power) && held.scope == Scope::Everything)
    }

    /// Whether there may be an asset to which they may do this.
    pub fn may_somewhere(&self, power: Power) -> bool {
        self.lets(power) && self.held.iter().any(|held| held.role.allows(power))
    }

    /// The roles that count when they say yes or no to what is done to an asset. Empty for who may not say it.
    pub fn approving_roles(&self, asset: &Asset) -> BTreeSet<Role> {
        if !self.may(Power::Approve, asset) {
            return BTreeSet::new();
        }
        self.held
            .iter()
            .filter(|held| held.role.allows(Power::Approve) && held.scope.covers(asset))
            .map(|held| held.role)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::asset::AssetKind;

    fn asset(environment: &str, owner: &str) -> Asset {
        let mut asset = Asset::unlabelled(AssetKind::Host, "h", "h");
        asset.environment = Some(environment.into());
        asset.owner = Some(owner.into());
        asset
    }

    fn access(roles: &[(Role, &str)]) -> Access {
        Access::new(roles.iter().map(|(role, scope)| Held { role: *role, scope: scope.parse().unwrap() }))
    }

    #[test]
    fn a_role_holds_in_its_scope_only() {
        let ada = access(&[(Role::Owner, "team/web"), (Role::Viewer, "environment/prod")]);
        assert!(ada.may(Power::Approve, &asset("prod", "web")));
        assert!(ada.may(Power::Read, &asset("prod", "db")) && !ada.may(Power::Operate, &asset("prod", "db")));
        assert!(!ada.may(Power::Read, &asset("staging", "db")));
        assert!(!ada.may_everywhere(Power::Read) && ada.may_somewhere(Power::Operate));
        assert!(!ada.may_somewhere(Power::Admin));
        let nameless = Asset::unlabelled(AssetKind::Host, "h", "h");
        assert!(!ada.may(Power::Read, &nameless), "what nobody labelled is in no environment and of no team");
    }

    #[test]
    fn who_may_not_approve_brings_no_role_to_a_quorum() {
        let web = asset("prod", "web");
        let both = access(&[(Role::Owner, "team/web"), (Role::Operator, "all")]);
        assert_eq!(both.approving_roles(&web), BTreeSet::from([Role::Owner]));
        let operating = both.narrowed(BTreeSet::from([Power::Read, Power::Operate]), None);
        assert!(operating.approving_roles(&web).is_empty());
        assert!(access(&[(Role::Operator, "all")]).approving_roles(&web).is_empty());
    }

    #[test]
    fn names_that_could_be_taken_for_something_else_are_refused() {
        for good in ["ada", "ada.lovelace@example.org", "7of9", "ci-bot"] {
            assert!(good.parse::<PersonName>().is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", "Ada", "a b", "-a", "system", "a/b", "ä", "token:ci", long.as_str(), "a\n"] {
            assert!(bad.parse::<PersonName>().is_err(), "{bad}");
        }
        for bad in ["", "ALL", "environment/", "team/", "team/A", "environment/a b", "environment", "everything"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    fn any_access() -> impl Strategy<Value = Access> {
        let scope = prop_oneof![
            Just(Scope::Everything),
            "(prod|staging)".prop_map(Scope::Environment),
            "(web|db)".prop_map(|name| Scope::Team(name.parse().unwrap())),
        ];
        let held = (proptest::sample::select(&Role::ALL), scope).prop_map(|(role, scope)| Held { role, scope });
        proptest::collection::btree_set(held, 0..4).prop_map(Access::new)
    }

    proptest! {
        #[test]
        fn a_token_never_lets_do_more_than_its_owner_may(
            access in any_access(),
            powers in proptest::collection::btree_set(proptest::sample::select(&Power::ALL), 0..4),
            environment in proptest::option::of("(prod|staging)"),
            on in ("(prod|staging|test)", "(web|db|app)"),
        ) {
            let asset = asset(&on.0, &on.1);
            let token = access.clone().narrowed(powers.clone(), environment.clone());
            for power in Power::ALL {
                if token.may(power, &asset) {
                    prop_assert!(access.may(power, &asset) && powers.contains(&power));
                    prop_assert!(environment.as_ref().is_none_or(|only| *only == on.0));
                }
                prop_assert!(!token.may_everywhere(power) || access.may_everywhere(power));
                prop_assert!(!token.may_everywhere(power) || token.may(power, &asset));
                prop_assert!(!token.may(power, &asset) || token.may_somewhere(power));
            }
            prop_assert!(token.approving_roles(&asset).is_subset(&access.approving_roles(&asset)));
        }

        #[test]
        fn scopes_and_holders_print_and_parse(bytes: [u8; 10], team in "[a-z][a-z0-9-]{0,9}") {
            prop_assume!(team.parse::<TeamName>().is_ok());
            for scope in [Scope::Everything, Scope::Environment(team.clone()), Scope::Team(team.parse().unwrap())] {
                prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
            }
            for holder in [Holder::Person(ActorId::from_entropy(bytes)), Holder::Team(team.parse().unwrap())] {
                prop_assert_eq!(holder.to_string().parse::<Holder>().unwrap(), holder);
            }
        }

        #[test]
        fn any_text_is_a_scope_or_is_refused(text in ".{0,80}") {
            let _ = text.parse::<Scope>();
            let _ = text.parse::<Holder>();
            let _ = text.parse::<PersonName>();
        }
    }
}
