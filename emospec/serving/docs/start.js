// Shows the API's document with Swagger UI, from this server alone: no validator elsewhere is asked.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
