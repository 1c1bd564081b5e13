"""What was published before this text was written: names and numbers that others' code holds. Nothing here may ever change."""

CORE = "ameide_core_proto.sales.core.v1"

TOPICS = {
    f"{CORE}.SalesDomainIntent": "sales.domain.intents.v1",
    f"{CORE}.SalesDomainFact": "sales.domain.facts.v1",
    "ameide_core_proto.sales.process.v1.SalesProcessFact": "sales.process.facts.v1",
    "ameide_core_proto.sales.integration.v1.SalesIntegrationFact": "sales.integration.facts.v1",
}
"""Envelope → topic family. The lint's own copy, to check the options against; code reads the options."""

NUMBERS = {
    f"{CORE}.SalesMessageMeta": {
        "message_id": 1,
        "correlation_id": 2,
        "causation_id": 3,
        "occurred_at": 4,
        "producer": 5,
        "schema_version": 6,
        "traceparent": 20,
        "tracestate": 21,
        "tenant_id": 50,
    },
    f"{CORE}.SalesSubject": {"aggregate_type": 1, "aggregate_id": 2, "aggregate_version": 3},
    "ameide_core_proto.sales.process.v1.SalesProcessSubject": {
        "workflow_type": 1,
        "workflow_id": 2,
        "run_id": 3,
        "run_epoch": 4,
        "seq": 5,
    },
    f"{CORE}.Money": {"currency": 1, "units": 2, "nanos": 3},
    f"{CORE}.LineItem": {"sku": 1, "description": 2, "quantity": 3, "unit_price": 4, "total_price": 5},
    f"{CORE}.ActorRef": {"user_id": 1, "display_name": 2},
    f"{CORE}.AccountRef": {"account_id": 1, "account_name": 2},
    f"{CORE}.ContactRef": {"contact_id": 1, "contact_name": 2, "contact_email": 3},
    f"{CORE}.ListOpportunitiesRequest": {
        "context": 1,
        "stage": 2,
        "owner_user_id": 3,
        "page_size": 10,
        "page_token": 11,
    },
}
"""Message → field → number, as published."""

READS = ("GetLead", "GetOpportunity", "GetQuote")
"""What SalesCommandService has beside the commands."""

QUERIES = (
    "GetOpportunityView",
    "ListOpportunities",
    "GetQuoteView",
    "ListQuotes",
    "GetPipelineSummary",
    "ListApprovalWorkItems",
)
"""The methods of SalesQueryService."""
