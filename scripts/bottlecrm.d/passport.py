"""Print what a test needs to know of the CRM: its address, an operator's token, two organisations with a token each.

The operator belongs to every organisation. A JWT manages webhooks, custom fields and organisations, which the personal
access tokens that a bridge signs in with may not.
"""

import json
import os
import sys

import django

django.setup()

from common.models import Org, PersonalAccessToken, Profile, User  # noqa: E402 - only after setup
from common.serializer import OrgAwareRefreshToken  # noqa: E402

EMAIL = "operator@bridge.example"

user = User.objects.filter(email=EMAIL).first() or User.objects.create_user(email=EMAIL, password=None)
organisations = {}
for name in ("acme", "globex"):
    org, _ = Org.objects.get_or_create(name=name)
    profile, _ = Profile.objects.get_or_create(user=user, org=org)
    profile.role, profile.is_active = "ADMIN", True
    profile.save()
    token, _ = PersonalAccessToken.generate(
        profile=profile, name="bridge", scopes=["leads:read", "leads:write", "org:read"]
    )
    jwt = OrgAwareRefreshToken.for_user_and_org(user, org, profile).access_token
    organisations[name] = {"org_id": str(org.id), "token": token, "jwt": str(jwt)}
json.dump(
    {
        "address": os.environ["DOMAIN_NAME"],
        "organisations": organisations,
        # With these scripts/bottlecrm stops and starts this very server.
        "settings": {name: os.environ[name] for name in ("BOTTLECRM_PORT", "PGPORT_BRIDGE", "BRIDGE_TEST_WORK")},
    },
    sys.stdout,
    indent=1,
)
